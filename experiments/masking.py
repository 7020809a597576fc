"""What each part of the masking rule is for: small models of letters, each with one thing changed.

All models read the same windows in the same order from the same initial weights. Measured on
chapters that no model has read: its own task; the letter at one place, where [MASK], the truth or
a wrong letter stands; BERT's task with everything selected hidden; what linear readings find in
the states of visible text.

    python experiments/masking.py [--smoke] [--resume]
"""

import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from bertbook.corpora.letters import Windows, letter_windows
from bertbook.pretraining.heads import BertForPreTraining
from bertbook.pretraining.masking import MaskingRule
from bertbook.pretraining.optimizer import decays, warmup_and_linear_decay
from bertbook.shared.results import Results, experiment_arguments
from bertbook.shared.training import (
    count_parameters,
    minibatches,
    seed_everything,
    train,
    trained_tensors,
    write_atomically,
)
from bertbook.studies.letter_models import (
    STATES,
    Task,
    ask_at_one_place,
    letter_model,
    make_batch,
    neighbour_probes,
    own_loss,
    task_loss,
)

NAME = "masking"
CONFIG = {
    "text": "letters of modern verses, windows of 30",
    "model": {"width": 64, "layers": 2, "heads": 4},
    "training": {
        "steps": 800,
        "batch_size": 64,
        "rate": 0.003,
        "warmup": 80,
        "weight_decay": 0.01,
    },
    "curve_at": [50, 100, 200, 300, 400, 500, 600, 700, 800],
    "windows": {"curve": 500, "test": 3000, "probe_train": 1500, "probe_test": 1000},
    # kind and rule of the task; "windows": how many are read, instead of all.
    "variants": {
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
    },
}
STORED = ("80/10/10", "100/0/0", "both contexts", "left to right")
SEEDS = [0, 1, 2]
SMOKE = {
    **CONFIG,
    "training": {**CONFIG["training"], "steps": 2, "batch_size": 4, "warmup": 1},
    "curve_at": [1, 2],
    "windows": {"curve": 8, "test": 20, "probe_train": 60, "probe_test": 60},
}
HIDDEN = Task(rule=MaskingRule(mask=1.0, random=0.0, keep=0.0))


def task_of(config: dict, variant: str) -> Task:
    """What a variant is trained to do."""
    entry = config["variants"][variant]
    return Task(
        entry.get("kind", "masked"),
        MaskingRule(**entry.get("rule", {})),
        entry.get("static", False),
    )


def some(windows: Windows, count: int) -> Windows:
    """As many windows, spread evenly over the text."""
    step = max(1, len(windows.ids) // count)
    return Windows(*(tensor[::step][:count] for tensor in windows))


def train_variant(
    config: dict, variant: str, seed: int
) -> tuple[BertForPreTraining, list[dict[str, float]]]:
    """Train one model.

    Returns:
        The model, rounded to half precision as it is stored, and its curve: step, processor time in
        seconds without measuring, loss and accuracy on validation windows.
    """
    entry, training = config["variants"][variant], config["training"]
    task, steps = task_of(config, variant), entry.get("steps", training["steps"])
    seed_everything(seed)
    model = letter_model(**config["model"])
    learn, validate, _ = letter_windows()
    ids = learn.ids
    if "windows" in entry:
        ids = some(learn, entry["windows"]).ids
    held_out = some(validate, config["windows"]["curve"]).ids
    numbers = minibatches(len(ids), training["batch_size"], seed)
    curve: list[dict[str, float]] = []
    started, measuring = time.process_time(), 0.0

    def batch(step: int):
        chosen = numbers(step)
        return make_batch(ids[chosen], task, seed * 1_000_003 + step, chosen)

    def after_step(step: int, loss: float) -> None:
        nonlocal measuring
        if step + 1 in config["curve_at"]:
            now = time.process_time()
            point = {"step": step + 1, "cpu_s": round(now - started - measuring, 2)}
            curve.append({**point, **own_loss(model, held_out, task)})
            measuring += time.process_time() - now

    if steps:
        train(
            model,
            batch,
            task_loss,
            steps=steps,
            learning_rate=training["rate"],
            schedule=warmup_and_linear_decay(training["warmup"], steps),
            weight_decay=training["weight_decay"],
            decays=decays,
            seed=seed,
            after_step=after_step,
        )
    return model.half().float().eval(), curve


def measure(
    model: BertForPreTraining, config: dict, variant: str, probes: bool = True
) -> dict:
    """All that is measured of a model, on the test part; readings are learnt on training text."""
    learn, _, test = letter_windows()
    sizes, task = config["windows"], task_of(config, variant)
    ids = some(test, sizes["test"]).ids
    causal = task.kind == "causal"
    metrics: dict = {"own": own_loss(model, ids, task)}
    if not causal:
        metrics["hidden"] = own_loss(model, ids, HIDDEN)
        for state in STATES:
            chances, truth, stood = ask_at_one_place(model, ids, state)
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
        metrics["probes"] = neighbour_probes(
            model,
            some(learn, sizes["probe_train"]),
            some(test, sizes["probe_test"]),
            causal,
        )
    return metrics


def weights_file(folder: Path, variant: str) -> Path:
    """Where the weights of a variant's first seed are stored."""
    return folder / f"{NAME}_{variant.replace('/', '_').replace(' ', '_')}.safetensors"


def load_stored(folder: Path, config: dict, variant: str) -> BertForPreTraining:
    """The stored model of a variant's first seed."""
    model = letter_model(**config["model"])
    state = load_file(weights_file(folder, variant))
    model.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    return model.eval()


def run(
    config: dict, seeds: list[int], folder: Path, weights: Path, resume: bool
) -> Results:
    """Train and measure every variant with every seed."""
    results = Results(
        NAME,
        config,
        seeds,
        folder=folder,
        resume=resume,
        packages=["safetensors", "scikit-learn"],
    )
    jobs = [(variant, seed) for seed in seeds for variant in config["variants"]]
    for variant, seed in tqdm(jobs, desc=NAME):
        if results.has(variant, seed):
            continue
        wall = time.perf_counter()
        model, curve = train_variant(config, variant, seed)
        wall = time.perf_counter() - wall
        if seed == seeds[0] and variant in STORED:
            # The tied matrix and the bias's second name are left out.
            state = trained_tensors(model)
            write_atomically(
                weights_file(weights, variant),
                lambda path, state=state: save_file(state, path),
            )
        results.add(
            variant,
            seed,
            parameters=count_parameters(model),
            wall_time_s=wall,
            metrics={**measure(model, config, variant), "curve": curve},
        )
    return results


def main(arguments: list[str] | None = None) -> None:
    """Run the experiment from the command line."""
    options = experiment_arguments(__doc__.splitlines()[0], arguments)
    torch.set_num_threads(1)  # small models: a second thread only waits
    config, seeds = (SMOKE, SEEDS[:1]) if options.smoke else (CONFIG, SEEDS)
    results = run(config, seeds, options.folder, options.weights, options.resume)
    for done in results.runs:
        own = done["metrics"]["own"]
        print(
            f"{done['variant']:24} seed {done['seed']}: cross-entropy "
            f"{own['cross_entropy']:.3f}, accuracy {own['accuracy']:.3f}"
        )


if __name__ == "__main__":
    main()
