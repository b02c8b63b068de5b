"""Make the report of a comparison, and its picture for the documentation.

    python -m experiments.report_page

Needs the extra `report`, the package playwright and a Chromium.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import rlkit

ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("places", nargs="*", type=Path, help="what is reported; else it is trained")
    parser.add_argument("--out", type=Path, default=Path("runs/report"), help="folder of the runs")
    parser.add_argument("--picture", type=Path, default=Path("docs/report.png"))
    parser.add_argument("--chromium", type=Path, default=Path("/usr/bin/chromium"))
    parser.add_argument("--height", type=int, default=1500, help="of the picture, in pixels")
    args = parser.parse_args()
    places = args.places or [compared(args.out).folder]
    started = time.perf_counter()
    page = rlkit.report(places, args.out / "report.html")
    seconds = time.perf_counter() - started
    print(f"{page}: {page.stat().st_size / 1e6:.2f} MB in {seconds:.1f} s")
    photograph(page, args.picture, args.chromium, args.height)
    print(f"{args.picture}: {args.picture.stat().st_size / 1e3:.0f} kB")


def compared(out: Path) -> rlkit.Comparison:
    """Compare three settings of Q-learning and random play in some seconds."""
    return rlkit.compare(
        [
            "small steps=q-learning --step-size 0.02",
            "q-learning",
            "no exploration=q-learning --epsilon-start 0 --epsilon-end 0",
            "random",
        ],
        "FrozenLake-v1",
        steps=60_000,
        evaluate_every=2_000,
        out=out,
    )


def photograph(page: Path, picture: Path, chromium: Path, height: int) -> None:
    """Save the upper part of a page as a small png."""
    import io

    from PIL import Image
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        tab = browser.new_page(viewport={"width": 900, "height": height})
        tab.goto(page.absolute().as_uri())
        image = Image.open(io.BytesIO(tab.screenshot()))
        browser.close()
    image.convert("RGB").quantize(128).save(picture, optimize=True)


if __name__ == "__main__":
    main()
