"""The site made of all documents: `./dev docs`. Sphinx reads this file; the sources are Markdown
where they belong, beside what they describe.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "Letterlock"
copyright = "Letterlock's authors, GPL-3.0-or-later"
html_title = "Letterlock"
extensions = ["myst_parser"]
root_doc = "docs/index"
source_suffix = {".md": "markdown"}
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "HACKING.md",
    "SECURITY.md",
    "STANDARDS.md",
    "docs/*.md",
    "ansible/README.md",
    "bench/README.md",
    "keyservice/README.md",
    "milter/README.md",
    "postfix-conf/README.md",
    "tests/README.md",
]
html_theme = "furo"
html_copy_source = False
html_show_sourcelink = False
myst_heading_anchors = 4
myst_links_external_new_tab = False
# A picture of text is no programming language.
highlight_language = "none"
