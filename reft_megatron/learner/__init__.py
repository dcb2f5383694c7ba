"""The learner: rollouts in, targets and losses out; pure torch.

Owns the maths of ReFT: alignment, rewards with their KL penalty, advantages, loss weights, losses,
statistics. Knows no process group and no Megatron: whatever is global (number of sequences, mean,
variance) is reduced by the caller and handed in, so that micro-batches, packing and data
parallelism cannot change a loss.

Legend: B sequences, T tokens of the longest one (prompt included), R rows and L columns of a
micro-batch. Entry `t` of any array is about token `t`; masks are True where a value counts.
"""
