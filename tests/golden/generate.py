#!/usr/bin/python3
"""Writes the golden tables of tests/golden, or checks that they are what it would write.

python3 tests/golden/generate.py            rewrite the tables
python3 tests/golden/generate.py --check    exit 1 if a table differs
python3 tests/golden/generate.py --pcap NAME [--to FILE]   one case for Wireshark
"""

import argparse
import json
import os
import sys
from pathlib import Path

try:
    import scapy.layers.inet6  # noqa: F401
except ImportError:  # Debian's python3-scapy belongs to Debian's python3
    debian = "/usr/bin/python3"
    if sys.executable == debian or not os.path.exists(debian):
        sys.exit("scapy is missing: apt-get install python3-scapy")
    os.execv(debian, [debian, *sys.argv])

sys.dont_write_bytecode = True

from gen import tables, topology, verify  # noqa: E402

HERE = Path(__file__).resolve().parent


def rendered():
    """File name -> text of everything that is generated."""
    texts = {"topology.json": json.dumps(topology.TOPOLOGY, indent=1) + "\n"}
    for name, cases in tables.tables().items():
        texts[f"{name}.json"] = json.dumps([case.to_json() for case in cases], indent=1) + "\n"
    for name, text in tables.CONFIGS.items():
        texts[f"configs/{name}.yaml"] = text
    return texts


def check(texts):
    """Names of files that differ from what is generated, or that nothing generates."""
    there = {str(p.relative_to(HERE)) for pattern in ("*.json", "configs/*.yaml") for p in HERE.glob(pattern)}
    wrong = [name for name, text in texts.items() if name not in there or (HERE / name).read_text() != text]
    return sorted(wrong + [name for name in there if name not in texts])


def pcap(name, target):
    """Writes the frames of a case, in and out, one second a step."""
    from scapy.layers.l2 import Ether
    from scapy.utils import wrpcap

    cases = {case.name: case for cases in tables.tables().values() for case in cases}
    if name not in cases:
        sys.exit(f"no case {name}; there are: {' '.join(sorted(cases))}")
    frames = []
    for second, step in enumerate(cases[name].steps):
        for text in [step.get("in")] + [o["frame"] for o in step["out"]]:
            if text:
                frame = Ether(bytes.fromhex(text))
                frame.time = second
                frames.append(frame)
    wrpcap(target, frames)
    print(f"{len(frames)} frames in {target}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--pcap", metavar="NAME")
    parser.add_argument("--to", metavar="FILE")
    arguments = parser.parse_args()
    if arguments.pcap:
        return pcap(arguments.pcap, arguments.to or f"{arguments.pcap}.pcap")
    texts = rendered()
    verify.verify(tables.tables())
    if arguments.check:
        wrong = check(texts)
        if wrong:
            sys.exit(f"differs from generate.py: {' '.join(wrong)}")
        return None
    for name, text in texts.items():
        (HERE / name).write_text(text)
    print(f"{sum(len(cases) for cases in tables.tables().values())} cases")
    return None


if __name__ == "__main__":
    main()
