import time
from tests.launch import QUAD
def test_try(launch, warm):
    print(warm.series("eval/dev_accuracy"), warm.series("train/loss"), warm.checkpoints, warm.out[0])
