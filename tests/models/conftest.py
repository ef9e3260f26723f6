"""One thread: the tensors are small, and xdist's workers share the cores."""

import torch

torch.set_num_threads(1)
