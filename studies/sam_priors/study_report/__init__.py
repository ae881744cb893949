"""The parts of tools/study.py: from docs/study/*.csv to the blocks and figures of docs/study.md."""
