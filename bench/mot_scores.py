#!/usr/bin/env python3
"""Scores Headcount's tracks with the field's own tool, and prints the table of docs/ACCURACY.md.

    python3 -m venv .venv && .venv/bin/pip install 'numpy<2' scipy trackeval
    .venv/bin/python bench/mot_scores.py --headcount target/release/headcount --data ../shared/data/mot17

Runs `headcount eval mot` on every sequence in the folder and on each of its detection files, scores
the tracks with trackeval (HOTA, MOTA, IDF1, identity switches), and adds the crossing errors: every
frame, every third and every sixth (the mean over the phases), with lines shifted by 40 px, and with
every number of the tracker changed at random.
"""

import argparse
import contextlib
import io
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np

DETECTIONS = {"YOLOX-X": "det/det_yolox_x_ablation.txt", "SDP": "det/det.txt"}
JITTER_PX = 40


def evaluate(command, data, sequence, detections, every=1, phase=0, tracks=None):
    """The report of one `headcount eval mot`."""
    arguments = [
        *command, "eval", "mot",
        "--sequence", str(data / sequence),
        "--detections", str(data / sequence / detections),
        "--lines", str(data / "lines.json"),
        "--jitter-px", str(JITTER_PX),
        "--every", str(every), "--phase", str(phase),
        "--json", "-",
    ]
    if tracks:
        arguments += ["--tracks-out", str(tracks)]
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(arguments)}\n{done.stderr}")
    return json.loads(done.stdout)


def percent(reports):
    """Sum of the errors of all lines by the true crossings, in percent."""
    lines = [line for report in reports for line in report["lines"]]
    truth = sum(line["gt_in"] + line["gt_out"] for line in lines)
    error = sum(
        abs(line["in"] - line["gt_in"]) + abs(line["out"] - line["gt_out"]) for line in lines
    )
    return 100 * error / truth if truth else float("nan")


def crossings(command, data, sequences, detections, every):
    """Error, error at shifted lines, missed and false events; each the mean over the phases."""
    reports = [
        evaluate(command, data, sequence, detections, every, phase)
        for sequence in sequences
        for phase in range(every)
    ]
    jitters = [report["jitter"] for report in reports]
    count = lambda key: sum(jitter["events"][key] for jitter in jitters) / every
    return percent(reports), percent(jitters), count("missed"), count("false")


def tracking(data, sequences, folder):
    """HOTA of each sequence, and MOTA, IDF1 and switches of all, by trackeval."""
    # trackeval 1.0 uses names that numpy dropped in 1.24.
    for name in ("float", "int", "bool"):
        if name not in vars(np):
            setattr(np, name, getattr(__builtins__, name))
    import trackeval

    settings = trackeval.datasets.MotChallenge2DBox.get_default_dataset_config()
    settings.update(
        GT_FOLDER=str(data),
        TRACKERS_FOLDER=str(folder),
        SEQ_INFO={sequence: None for sequence in sequences},
        SKIP_SPLIT_FOL=True,
        PRINT_CONFIG=False,
    )
    evaluator = trackeval.Evaluator.get_default_eval_config()
    evaluator.update(
        PRINT_RESULTS=False, PRINT_CONFIG=False, OUTPUT_SUMMARY=False, OUTPUT_DETAILED=False,
        PLOT_CURVES=False, TIME_PROGRESS=False,
    )
    quiet = {"PRINT_CONFIG": False}
    metrics = [trackeval.metrics.HOTA(quiet), trackeval.metrics.CLEAR(quiet), trackeval.metrics.Identity(quiet)]
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = trackeval.datasets.MotChallenge2DBox(settings)
        scores, _ = trackeval.Evaluator(evaluator).evaluate([dataset], metrics)
    scores = scores["MotChallenge2DBox"]["headcount"]
    everything = scores["COMBINED_SEQ"]["pedestrian"]
    return {
        "hota": [100 * np.mean(scores[s]["pedestrian"]["HOTA"]["HOTA"]) for s in sequences],
        "switches": everything["CLEAR"]["IDSW"],
        "mota": 100 * everything["CLEAR"]["MOTA"],
        "idf1": 100 * everything["Identity"]["IDF1"],
    }


def draws(command, data, detections, every):
    """Errors when every number of the tracker is changed at random: median, and a tenth to either side."""
    arguments = [
        *command, "eval", "draws", "--data", str(data), "--detections", detections,
        "--every", str(every), "--json", "-",
    ]
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(arguments)}\n{done.stderr}")
    report = json.loads(done.stdout)
    return [report[key] for key in ("error_percent", "median_percent", "p10_percent", "p90_percent")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--headcount", default="target/release/headcount", help="the command")
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("../shared/data/mot17"))
    options = parser.parse_args()
    command, data = [options.headcount], options.data
    sequences = sorted(path.parent.name for path in data.glob("*/seqinfo.ini"))
    if not sequences:
        sys.exit(f"no sequences in {data}")

    print("| detections | HOTA of each | HOTA, mean | MOTA | IDF1 | switches |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, detections in DETECTIONS.items():
        folder = pathlib.Path(tempfile.mkdtemp())
        target = folder / "headcount" / "data"
        target.mkdir(parents=True)
        for sequence in sequences:
            evaluate(command, data, sequence, detections, tracks=target / f"{sequence}.txt")
        s = tracking(data, sequences, folder)
        shutil.rmtree(folder)
        each = " / ".join(f"{hota:.1f}" for hota in s["hota"])
        print(f"| {name} | {each} | {np.mean(s['hota']):.1f} | {s['mota']:.1f} | {s['idf1']:.1f} | {s['switches']} |")

    known = json.loads((data / "lines.json").read_text())
    lined = [sequence for sequence in sequences if sequence in known]
    print(f"\n| detections | frames | error | lines shifted ±{JITTER_PX} px | missed | false |")
    print("| --- | --- | --- | --- | --- | --- |")
    cases = [("YOLOX-X", 1), ("SDP", 1), ("YOLOX-X", 3), ("YOLOX-X", 6)]
    for name, every in cases:
        net, shifted, missed, false = crossings(command, data, lined, DETECTIONS[name], every)
        print(f"| {name} | every {every} | {net:.1f}% | {shifted:.1f}% | {missed:.1f} | {false:.1f} |")

    print("\n| detections | frames | error | median of 40 draws | a tenth is below | a tenth is above |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, every in cases:
        usual, median, low, high = draws(command, data, DETECTIONS[name], every)
        print(f"| {name} | every {every} | {usual:.1f}% | {median:.1f}% | {low:.1f}% | {high:.1f}% |")


if __name__ == "__main__":
    main()
