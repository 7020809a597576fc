"""What each part of the masking rule is for: small models of letters, each with one thing changed.

All models read the same windows in the same order from the same initial weights. Measured on
chapters that no model has read: its own task; the letter at one place, where [MASK], the truth or
a wrong letter stands; BERT's task with everything selected hidden; what linear readings find in
the states of visible text.

    python experiments/masking.py [--smoke] [--resume]
"""

import time
from dataclasses import dataclass

from bertbook.corpora.letters import Windows, letter_windows
from bertbook.pretraining.heads import BertForPreTraining
from bertbook.pretraining.masking import MaskingRule
from bertbook.pretraining.optimizer import decays, warmup_and_linear_decay
from bertbook.shared.experiment import Experiment, Job, Trained, section
from bertbook.shared.training import minibatches, seed_everything
from bertbook.shared.training import train as fit
from bertbook.studies import letter_models as letters
from bertbook.studies.letter_models import Task

VARIANTS = {  # kind and rule of the task; "windows": how many are read, instead of all.
    "80/10/10": {},
    "100/0/0": {"rule": {"mask": 1.0, "random": 0.0, "keep": 0.0}},
    "90/10/0": {"rule": {"mask": 0.9, "random": 0.1, "keep": 0.0}},
    "90/0/10": {"rule": {"mask": 0.9, "random": 0.0, "keep": 0.1}},
    "both contexts": {"kind": "both"},
    "left to right": {"kind": "causal"},
    "untrained": {"steps": 0},
    "corrupt 5, predict 5": {"rule": {"rate": 0.05}},
    "corrupt 40, predict 40": {"rule": {"rate": 0.4}},
    "corrupt 80, predict 80": {"rule": {"rate": 0.8}},
    "corrupt 15, predict 5": {"rule": {"rate": 0.05, "corruption": 0.15}},
    "corrupt 40, predict 15": {"rule": {"rate": 0.15, "corruption": 0.4}},
    "corrupt 15, predict 100": {"rule": {"rate": 1.0, "corruption": 0.15}},
    "few windows, dynamic": {"windows": 2000},
    "few windows, static": {"windows": 2000, "static": True},
}


@dataclass(frozen=True)
class Config:
    """What the runs depend on."""

    text: str = "letters of modern verses, windows of 30"
    model: dict[str, int] = section(width=64, layers=2, heads=4)
    training: dict[str, float] = section(
        steps=800, batch_size=64, rate=0.003, warmup=80, weight_decay=0.01
    )
    curve_at: tuple[int, ...] = (50, 100, 200, 300, 400, 500, 600, 700, 800)
    # How many are measured.
    windows: dict[str, int] = section(
        curve=500, test=3000, probe_train=1500, probe_test=1000
    )
    variants: dict[str, dict] = section(**VARIANTS)


CONFIG = Config()
SMOKE = Config(
    training={**CONFIG.training, "steps": 2, "batch_size": 4, "warmup": 1},
    curve_at=(1, 2),
    windows={"curve": 8, "test": 20, "probe_train": 60, "probe_test": 60},
)
HIDDEN = Task(rule=MaskingRule(mask=1.0, random=0.0, keep=0.0))


def task_of(config: Config, variant: str) -> Task:
    """What a variant is trained to do."""
    entry = config.variants[variant]
    return Task(
        entry.get("kind", "masked"),
        MaskingRule(**entry.get("rule", {})),
        entry.get("static", False),
    )


def some(windows: Windows, count: int) -> Windows:
    """As many windows, spread evenly over the text."""
    step = max(1, len(windows.ids) // count)
    return Windows(*(tensor[::step][:count] for tensor in windows))


def train(job: Job) -> Trained:
    """Train one model, rounded to half precision as it is stored.

    Its curve is step, processor time in seconds without measuring, loss and accuracy on validation
    windows.
    """
    config, seed, choice = job.config, job.seed, job.config.training
    entry, task = config.variants[job.variant], task_of(config, job.variant)
    steps = entry.get("steps", choice["steps"])
    seed_everything(seed)
    model = letters.letter_model(**config.model)
    learn, validate, _ = letter_windows()
    ids = some(learn, entry["windows"]).ids if "windows" in entry else learn.ids
    held_out = some(validate, config.windows["curve"]).ids
    numbers = minibatches(len(ids), choice["batch_size"], seed)
    curve: list[dict[str, float]] = []
    started, measuring = time.process_time(), 0.0

    def batch(step: int):
        chosen = numbers(step)
        return letters.make_batch(ids[chosen], task, seed * 1_000_003 + step, chosen)

    def after_step(step: int, loss: float) -> None:
        nonlocal measuring
        if step + 1 in config.curve_at:
            now = time.process_time()
            point = {"step": step + 1, "cpu_s": round(now - started - measuring, 2)}
            curve.append({**point, **letters.own_loss(model, held_out, task)})
            measuring += time.process_time() - now

    if steps:
        fit(
            model,
            batch,
            letters.task_loss,
            steps=steps,
            learning_rate=choice["rate"],
            schedule=warmup_and_linear_decay(choice["warmup"], steps),
            weight_decay=choice["weight_decay"],
            decays=decays,
            seed=seed,
            after_step=after_step,
        )
    return Trained(model.half().float().eval(), {"curve": curve})


def measure(job: Job, model: BertForPreTraining, probes: bool = True) -> dict:
    """All that is measured of a model, on the test part; readings are learnt on training text."""
    learn, _, test = letter_windows()
    sizes, task = job.config.windows, task_of(job.config, job.variant)
    ids = some(test, sizes["test"]).ids
    causal = task.kind == "causal"
    metrics: dict = {"own": letters.own_loss(model, ids, task)}
    if not causal:
        metrics["hidden"] = letters.own_loss(model, ids, HIDDEN)
        for state in letters.STATES:
            chances, truth, stood = letters.ask_at_one_place(model, ids, state)
            of_truth = chances.gather(1, truth[:, None])[:, 0]
            of_input = chances.gather(1, stood[:, None])[:, 0]
            best = chances.argmax(-1)
            metrics[state] = {
                "cross_entropy": round(-of_truth.log().mean().item(), 5),
                "accuracy": round((best == truth).float().mean().item(), 5),
                "copied": round((best == stood).float().mean().item(), 5),
                "p_input": round(of_input.mean().item(), 5),
            }
    if probes:
        known = some(learn, sizes["probe_train"]), some(test, sizes["probe_test"])
        metrics["probes"] = letters.neighbour_probes(model, *known, causal)
    return metrics


def describe(run: dict) -> str:
    """How well it does its own task."""
    own = run["metrics"]["own"]
    return (
        f"{run['variant']:24} seed {run['seed']}: cross-entropy "
        f"{own['cross_entropy']:.3f}, accuracy {own['accuracy']:.3f}"
    )


EXPERIMENT = Experiment(
    "masking",
    __doc__,
    CONFIG,
    SMOKE,
    train,
    measure,
    describe,
    seeds=(0, 1, 2),
    packages=("safetensors", "scikit-learn"),
    stored=("80/10/10", "100/0/0", "both contexts", "left to right"),
    threads=1,  # small models: a second thread only waits
)
main = EXPERIMENT.main

if __name__ == "__main__":
    main()
