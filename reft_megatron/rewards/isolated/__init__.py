"""What runs inside a worker process, never inside the trainer.

A worker is started by path on a bare interpreter (no site-packages, no package installed), so the
files of this folder use the standard library and each other, by relative import, and nothing else.

    trainer --socketpair--> zygote --pipes--> runner        (frames.py in between)
                            lockdown, seccomp  program

The trainer itself imports only `frames`.
"""
