"""Two processes with half a batch each: the picks, the loss and the gradient of one process with the whole batch."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

import fne

SIZE, DIM, STEPS = 16, 6, 4


def train(rank: int, world: int) -> dict[str, torch.Tensor]:
    """A few steps of a linear model on this process's part of every batch, as DistributedDataParallel averages."""
    torch.manual_seed(0)
    model = torch.nn.Linear(DIM, DIM)
    slow = fne.MomentumEncoder(model, 0.9)
    rule = fne.FalseNegativeElimination(min_positives=4)
    criterion = fne.MatchingLoss(rule, fne.TripletLoss(margin=0.5), fne.MemoryQueue(24, DIM))
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1), []
    for step in range(STEPS):
        draws = torch.Generator().manual_seed(step)
        image = torch.randn(SIZE, DIM, generator=draws)
        text = image + 0.5 * torch.randn(SIZE, DIM, generator=draws)
        ids = torch.randint(0, 10, (SIZE,), generator=draws)
        mine = slice(rank * SIZE // world, (rank + 1) * SIZE // world)
        image, text, ids = image[mine], text[mine], ids[mine]
        loss = criterion(model(image), model(text), ids, momentum=(slow(image), slow(text)))
        optimizer.zero_grad()
        loss.backward()
        for parameter in model.parameters() if world > 1 else ():
            dist.all_reduce(parameter.grad)
            parameter.grad /= world
        optimizer.step()
        slow.update(model)
        losses.append(loss.detach())
    picks = torch.stack([ids for pick in criterion.picks for ids in pick])
    return {"losses": torch.stack(losses), "weight": model.weight.detach(), "picks": picks,
            "queue": criterion.memory.ring.slots.image}  # fmt: skip


def by_itself() -> torch.Tensor:
    image, text = torch.randn(2, SIZE, DIM, generator=torch.Generator().manual_seed(0))
    return fne.MatchingLoss(fne.HardestNegative(), fne.TripletLoss(), gather=False)(image, text)


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    result = train(rank, 2)
    if rank == 0:  # while the other one is elsewhere
        result["by itself"] = by_itself()
    torch.save(result, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_train_as_one_with_the_whole_batch(tmp_path: Path) -> None:
    multiprocessing.spawn(process, (str(tmp_path),), nprocs=2)
    alone = train(0, 1)
    for rank in range(2):
        together = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert torch.equal(together["picks"], alone["picks"])
        for name in ("losses", "weight", "queue"):
            torch.testing.assert_close(together[name], alone[name], rtol=1e-5, atol=1e-6, msg=name)
    torch.testing.assert_close(torch.load(tmp_path / "0.pt", weights_only=True)["by itself"], by_itself())
