# SPDX-License-Identifier: Apache-2.0
"""A strict reader of metrics: OpenMetrics 1.0, and the text format 0.0.4. Raises ValueError on whatever either forbids."""

import math
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
SAMPLE = re.compile(r"(%s)(?:\{((?:%s)(?:,(?:%s))*)\})? (\S+)" % (NAME, LABEL.replace("(", "(?:", 1).replace('="((?:', '="(?:(?:'), LABEL.replace("(", "(?:", 1).replace('="((?:', '="(?:(?:')))
NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?|Inf)|NaN")
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}


def fail(number, line, why):
    raise ValueError("line %d: %s: %r" % (number, why, line))


def suffixes(kind, openmetrics):
    return [""] if kind == "counter" and not openmetrics else SUFFIXES[kind]


class Family:
    def __init__(self, name):
        self.name, self.help, self.kind, self.samples = name, None, None, {}


def check_histogram(f):
    """Buckets grow, the last is +Inf and equals the count."""
    series = {}
    for (name, labels), value in f.samples.items():
        rest = tuple(kv for kv in labels if kv[0] != "le")
        series.setdefault(rest, {"le": [], "_count": None, "_sum": None})
        if name.endswith("_bucket"):
            series[rest]["le"].append((float(dict(labels)["le"].replace("+Inf", "inf")), value))
        else:
            series[rest]["_count" if name.endswith("_count") else "_sum"] = value
    for rest, s in series.items():
        bounds, values = [b for b, _ in s["le"]], [v for _, v in s["le"]]
        if bounds != sorted(set(bounds)) or values != sorted(values) or not bounds or bounds[-1] != math.inf:
            raise ValueError("%s%r: buckets out of order, or none for +Inf" % (f.name, rest))
        if s["_count"] != values[-1] or s["_sum"] is None:
            raise ValueError("%s%r: count or sum is missing or differs" % (f.name, rest))


def parse(text, openmetrics):
    """Families by name."""
    if not text.endswith("\n") or (openmetrics and not text.endswith("\n# EOF\n")):
        raise ValueError("the page does not end as it should")
    lines = text.split("\n")[:-2 if openmetrics else -1]
    families, now = {}, None
    for number, line in enumerate(lines, 1):
        head = re.fullmatch(r"# (HELP|TYPE) (%s) (.+)" % NAME, line)
        if head:
            what, name, rest = head.groups()
            if now is None or now.name != name:
                if name in families:
                    fail(number, line, "the family comes twice, or interleaved")
                now = families[name] = Family(name)
            if now.samples or getattr(now, {"HELP": "help", "TYPE": "kind"}[what]) is not None:
                fail(number, line, "said twice, or after the samples")
            if what == "HELP":
                now.help = rest
            elif rest not in SUFFIXES:
                fail(number, line, "unknown type")
            else:
                now.kind = rest
            continue
        sample = SAMPLE.fullmatch(line)
        if not sample:
            fail(number, line, "neither metadata nor a sample")
        name, labels, value = sample.group(1), tuple(re.findall(LABEL, sample.group(2) or "")), sample.group(sample.re.groups)
        if now is None or now.kind is None or now.help is None:
            fail(number, line, "a sample before HELP and TYPE")
        if name not in [now.name + s for s in suffixes(now.kind, openmetrics)]:
            fail(number, line, "does not belong to family %s of type %s" % (now.name, now.kind))
        if len({k for k, _ in labels}) != len(labels) or any(k.startswith("__") for k, _ in labels):
            fail(number, line, "labels twice or reserved")
        if not NUMBER.fullmatch(value):
            fail(number, line, "not a number")
        if (name, labels) in now.samples:
            fail(number, line, "the series comes twice")
        if now.kind != "gauge" and (float(value) < 0 or math.isnan(float(value))):
            fail(number, line, "a counter below zero")
        now.samples[name, labels] = float(value)
    for f in families.values():
        if not f.samples and not f.name.startswith("weft_mesh_"):  # nothing without encryption, as their help says
            raise ValueError("%s has no samples" % f.name)
        if f.kind == "histogram":
            check_histogram(f)
    return families
