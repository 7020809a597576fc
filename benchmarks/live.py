"""Print what the live figures cost a reader: bytes, the first result, a pass, a key held up.

python -m benchmarks.live, with the book built. Wall-clock time, in Chromium, on this machine; the
budgets stand beside.
"""

import statistics

from playwright.sync_api import Page, sync_playwright

from tests.browser.visits import FLAGS, chromium, serve
from tools.page_checks import ROOT, SITE

__all__ = ["main"]

PAGE = "q4_pretraining/pretraining.html"
FIGURE = "live-mask-lab"
READY = """figure => new Promise(resolve => {
  const status = figure.shadowRoot.querySelector(".status");
  const look = () => status.textContent.includes("computed here")
    ? resolve(performance.now()) : setTimeout(look, 10);
  look();
})"""
PASSES = """async (figure, [pieces, times]) => {
  const { model, wordPiece } = figure;
  const input = wordPiece.encode("so ".repeat(pieces - 2));
  const taken = [];
  for (let i = 0; i < times + 2; i++) {
    const start = performance.now();
    const { hiddenStates } = await model.forward(input);
    model.maskedLM(hiddenStates.at(-1)[1]);
    taken.push(performance.now() - start);
  }
  return taken.slice(2);
}"""
WATCH = """() => {
  window.held = [0];
  new PerformanceObserver(list => held.push(...list.getEntries().map(each => each.duration)))
    .observe({ entryTypes: ["longtask"] });
}"""


def show(what: str, value: str, budget: str = "") -> None:
    """Print one measurement."""
    print(f"{what:60} {value:>12}  {budget}")


def sizes() -> None:
    """Print the bytes that a reader's browser is given."""
    live = SITE / "_static" / "live"
    scripts = sum(path.stat().st_size for path in live.glob("*.js"))
    show("all scripts", f"{scripts / 1e3:.1f} kB", "at most 80 kB")
    for model in sorted(path for path in live.iterdir() if path.is_dir()):
        given = [model / "vocabulary.js", model / "weights.bin"]
        budget = "at most 6 MB" if model.name == "mini_bert" else ""
        size = sum(path.stat().st_size for path in given) / 1e6
        show(f"{model.name}: vocabulary and weights", f"{size:.2f} MB", budget)


def first_result(page: Page, home: str) -> None:
    """Print how long a reader waits at ten million bits a second, nothing of it compressed."""
    page.goto(home + PAGE, timeout=120_000)
    page.wait_for_load_state("networkidle")
    network = page.context.new_cdp_session(page)
    speed = {
        "latency": 20,
        "downloadThroughput": 10e6 / 8,
        "uploadThroughput": 10e6 / 8,
    }
    network.send("Network.enable")
    network.send("Network.emulateNetworkConditions", {"offline": False, **speed})
    figure = page.locator(FIGURE)
    start = page.evaluate("performance.now()")
    figure.evaluate("figure => figure.scrollIntoView({ behavior: 'instant' })")
    seconds = (figure.evaluate(READY) - start) / 1e3
    show("from the figure's appearance to its first result", f"{seconds:.1f} s", "6 s")


def passes(page: Page) -> None:
    """Print the time of a pass and of the guesses for one place."""
    for pieces, budget in ((12, 60), (64, 300), (128, None)):
        taken = page.locator(FIGURE).evaluate(PASSES, [pieces, 7])
        told = f"{budget} ms" if budget else ""
        show(f"{pieces} pieces", f"{statistics.median(taken):.0f} ms", told)


def held_up(page: Page) -> None:
    """Print the longest time in which the page took no key, the longest text being read."""
    page.evaluate(WATCH)
    field = page.locator(FIGURE).get_by_label("Sentence A")
    page.locator(FIGURE).get_by_label("Sentence B").fill("")
    field.fill("so " * 124)
    page.wait_for_timeout(400)
    field.press_sequentially(" on", delay=50)
    page.wait_for_timeout(3000)
    longest = page.evaluate("Math.max(...held)")
    show("longest task while 126 pieces are read", f"{longest:.0f} ms")


def main() -> None:
    """Measure all, in one browser."""
    if not (SITE / PAGE).is_file():
        raise SystemExit(f"{SITE.relative_to(ROOT)}/{PAGE} is missing: make book")
    sizes()
    with serve(SITE.parent) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        page = browser.new_page()
        first_result(page, f"{address}{SITE.name}/")
        passes(page)
        held_up(page)
        browser.close()


if __name__ == "__main__":
    main()
