"""Run by a launcher."""

import jtorch as torch
import jtorch.distributed as dist

dist.init_process_group("gloo")
assert dist.is_torchelastic_launched()
x = torch.ones(1)
dist.all_reduce(x)
assert x.item() == dist.get_world_size() == 2
dist.destroy_process_group()
print("ok")
