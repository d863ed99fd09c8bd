"""Write every generated page of docs/reference.

python -m docs.generate
"""

from __future__ import annotations

from docs.generate import pages

if __name__ == "__main__":
    for file, text in pages().items():
        file.write_text(text, encoding="utf-8")
