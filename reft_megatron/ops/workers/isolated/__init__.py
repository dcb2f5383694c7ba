"""What runs inside a worker process, never inside the trainer.

A worker is started by path on a bare interpreter (no site-packages, no package installed), so the
files of this folder use the standard library, each other and `ops.status`, by relative import, and
nothing else.

    trainer --posix_spawn--> boot --fork--> zygote --fork--> runner
        \\_________________ socketpair _______/ \\____ pipes ____/        frames in between

`boot` outlives nothing: it watches the trainer and ends the rest. `zygote` imports what programs
may use, gives up its rights (`lockdown`: limits, `landlock`, `seccomp`; `namespaces` before that)
and forks runners. `runner` gives up more and runs `program`s. The trainer itself imports only
`frames`.
"""
