"""What a running service says of itself at /metrics, as numbers a load test can use."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

Key = tuple[str, frozenset[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Scrape:
    """One look at every sample."""

    samples: dict[Key, float]

    @classmethod
    def of(cls, url: str) -> "Scrape":
        """Ask a service now.

        Args:
            url: Of the endpoint, such as http://127.0.0.1:9464/metrics.
        """
        answer = httpx.get(url, timeout=10, headers={"Accept": "text/plain"}).raise_for_status()
        return cls.parse(answer.text)

    @classmethod
    def parse(cls, text: str) -> "Scrape":
        """Read Prometheus's text format."""
        return cls(
            {
                (sample.name, frozenset(sample.labels.items())): sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }
        )

    def total(self, name: str, **labels: str) -> float:
        """The sum of every sample of this name that has these labels; 0 without any."""
        wanted = set(labels.items())
        return sum(
            value for (found, its), value in self.samples.items() if found == name and wanted <= set(its)
        )

    def since(self, earlier: "Scrape") -> "Scrape":
        """What was added to counters and histograms meanwhile; senseless for gauges."""
        return Scrape({key: value - earlier.samples.get(key, 0.0) for key, value in self.samples.items()})

    def quantile(self, share: float, name: str, **labels: str) -> float:
        """A quantile of a histogram, as Prometheus's histogram_quantile reckons it; NaN without samples.

        Args:
            share: 0.5 is the median.
            name: Of the histogram.
            labels: Of the samples to put together.
        """
        bounds: dict[float, float] = {}
        wanted = set(labels.items())
        for (found, its), value in self.samples.items():
            if found == f"{name}_bucket" and wanted <= set(its):
                bound = float(dict(its)["le"])
                bounds[bound] = bounds.get(bound, 0.0) + value
        cumulative = sorted(bounds.items())
        if not cumulative or cumulative[-1][1] == 0:
            return float("nan")
        rank = share * cumulative[-1][1]
        low, below = 0.0, 0.0
        for bound, count in cumulative:
            if count >= rank:
                return (
                    low if bound == float("inf") else low + (bound - low) * (rank - below) / (count - below)
                )
            low, below = bound, count
        return low


def service_parser(description: str | None) -> argparse.ArgumentParser:
    """Options of a command that loads a running service with one picture and reads its metrics."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--metrics", default="http://127.0.0.1:9464/metrics")
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--api-key", default="")
    return parser
