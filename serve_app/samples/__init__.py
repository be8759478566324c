"""What clients paste: each public call in four languages, one file each, shown by the documentation.

The files are the only copy; tests run them as they stand against a real service.
"""

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
LANGUAGES: Final = (  # suffix of the file, name ReDoc highlights by, label
    (".sh", "Shell", "curl"),
    (".py", "Python", "Python (requests)"),
    (".mjs", "JavaScript", "JavaScript (fetch)"),
    (".cs", "C#", "C# (HttpClient)"),
)


def code_samples(call: str) -> list[dict[str, str]]:
    """The `x-codeSamples` of a call, such as `detect`: ReDoc shows them beside the operation."""
    return [
        {"lang": language, "label": label, "source": sample_file(call, suffix).read_text()}
        for suffix, language, label in LANGUAGES
    ]


def sample_file(call: str, suffix: str) -> Path:
    """The file of a call in one language, named as that language names its files."""
    return FOLDER / f"{call.capitalize() if suffix == '.cs' else call}{suffix}"


def as_markdown(samples: list[dict[str, str]]) -> str:
    """The same samples, folded, for Swagger UI, which shows no `x-codeSamples` but a description."""
    return "\n\n".join(
        f"<details><summary>{sample['label']}</summary>\n\n"  # Markdown begins again after an empty line
        f"```{sample['lang'].lower()}\n{sample['source']}```\n\n</details>"
        for sample in samples
    )
