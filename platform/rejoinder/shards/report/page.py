"""The figures of a prepared set in, its page out: one HTML text that loads nothing from elsewhere and runs nothing."""

from __future__ import annotations

import json
from typing import Any

from rejoinder.shards.report.drawing import Branch, flow, histogram, rank_plot
from rejoinder.shards.report.markup import (
    Bar,
    Html,
    bullets,
    changed,
    figure,
    file_text,
    folded,
    identifier,
    number,
    percent,
    said,
    section,
    table,
    text,
    tiles,
)
from rejoinder.shards.report.style import CSS

Figures = dict[str, Any]


def render(figures: Figures) -> str:
    """The page."""
    train, vocabulary = figures["splits"]["train"], figures["vocabulary"]
    parts = [
        ("splits", "Where it went", _splits),
        ("left-out", "Left out, left in", _left_out),
        ("cleaning", "Cleaning and filters", _cleaning),
        ("lengths", "Lengths", _lengths),
        ("replies", "What is said most", _replies),
        ("vocabulary", "Vocabulary", _vocabulary),
        ("samples", "As the model sees it", _samples),
        ("corpora", "Corpora", _corpora),
    ]
    links = "".join(f'<a href="#{name}">{text(title)}</a>' for name, title, _ in parts)
    sections = "".join(section(name, title, *make(figures)) for name, title, make in parts)
    settings = json.dumps(figures["settings"], indent=1, ensure_ascii=False)
    at_a_glance = tiles(
        [
            (number(train["num_exchanges"]), "exchanges to learn from"),
            (number(train["num_conversations"]), "conversations that they are from"),
            (number(train["num_reply_tokens"]), "tokens of replies"),
            (number(vocabulary["bytes_per_token"]), "bytes per token"),
            (percent(figures["top_replies"]["share_of_exchanges"]), "of all replies are one of 20"),
        ]
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Prepared set {text(figures['name'])}</title><style>{CSS}</style></head><body>"
        f"<header><p class=quiet>Prepared set <code>{text(figures['name'])}</code></p><h1>{_headline(figures)}</h1>"
        f'<nav aria-label="Parts of this page">{links}</nav>{at_a_glance}</header><main>{sections}'
        f"{section('settings', 'Settings', folded('What decides its bytes', file_text(settings)))}"
        f"</main><footer>Fingerprint <code>{text(figures['fingerprint'])}</code>. The same figures are in report.json. "
        "All counts are of the whole set, but where a sample is named.</footer></body></html>\n"
    )


def _headline(figures: Figures) -> Html:
    readers = [corpus["about"]["title"] if corpus["about"] else corpus["reader"] for corpus in figures["corpora"]]
    names = ", ".join(readers[:3]) + (f" and {len(readers) - 3} more" if len(readers) > 3 else "")
    num = figures["splits"]["train"]["num_exchanges"]
    return Html(f"{num:,} replies to learn{f' from <em>{text(names)}</em>' if names else ''}")


def _key(kind: str, name: str) -> Html:
    return Html(f"<span class='key fill-{kind}'></span>{text(name)}")


def branches(figures: Figures) -> list[Branch]:
    """Where the conversations of the corpora went. What is kept is counted in the shards, the rest in the manifest."""
    out = {name: count for name, count in figures["left_out"].items() if not _is_of_replies(name)}
    before = ("conversations nobody replied in", "broken records")  # not among the conversations that were read
    kept = {split: of["num_conversations"] for split, of in figures["splits"].items()}
    gone = sum(count for name, count in out.items() if name not in before)
    rest = figures["num_conversations"] - gone - sum(kept.values())
    if any(count for name, count in figures["left_out"].items() if _is_of_replies(name)):
        out["no reply left to learn"] = max(rest, 0)
    return [
        *(Branch(split, count, split) for split, count in kept.items()),
        *(Branch(name.removeprefix("conversations "), count, "out") for name, count in out.items()),
    ]


def _is_of_replies(name: str) -> bool:
    return name.startswith(("replies", "exchanges"))


def _splits(figures: Figures) -> list[str]:
    splits = figures["splits"]
    total = sum(of["num_exchanges"] for of in splits.values()) or 1
    stack = "".join(f"<i class=fill-{name} style='flex:{of['num_exchanges']}'></i>" for name, of in splits.items())
    rows: list[list[object]] = [
        ["share", *(percent(of["num_exchanges"] / total) for of in splits.values())],
        *(list[object]([title, *(number(of[name]) for of in splits.values())]) for name, title in _COUNTS.items()),
    ]
    head = ["", *(_key(name, name) for name in splits)]
    return [
        "<div class=side>",
        figure(
            "Conversations, from the corpora to the splits", flow("conversations in the corpora", branches(figures))
        ),
        f"<div><h3>Exchanges</h3><div class=stack aria-hidden=true>{stack}</div>{table(head, rows, 'splits')}",
        "<p class=quiet>An exchange is a context and the reply to it.</p></div></div>",
    ]


_COUNTS = {
    "num_exchanges": "exchanges",
    "num_conversations": "conversations",
    "num_context_tokens": "tokens of contexts",
    "num_reply_tokens": "tokens of replies",
    "num_reply_bytes": "bytes of replies",
    "num_shards": "shards",
}


def _left_out(figures: Figures) -> list[str]:
    num_conversations = sum(branch.size for branch in branches(figures))
    parts = ["<div class=side>"]
    for title, of_replies, whole in (("Conversations", False, num_conversations), ("Replies", True, 0)):
        found = [
            (name, count, is_in)
            for is_in, counts in ((False, figures["left_out"]), (True, figures["left_in"]))
            for name, count in counts.items()
            if _is_of_replies(name) == of_replies
        ]
        most = max((count for _, count, _ in found), default=0) or 1
        rows = [
            [
                Html(f"{text(name)} {'<span class=tag>left in</span>' if is_in else ''}"),
                f"{count:,}",
                percent(count / whole) if whole else "",
                Bar(count / most, "train" if is_in else "out"),
            ]
            for name, count, is_in in found
            if count
        ]
        none = ", ".join(name for name, count, _ in found if not count)
        parts.append(
            f"<div><h3>{title}</h3>{table([], rows) if rows else ''}"
            f"{f'<p class=quiet>None: {text(none)}.</p>' if none else ''}</div>"
        )
    parts.append("</div>")
    if any(figures["left_in"].values()):
        parts.append(
            "<p class=quiet><span class=tag>left in</span> was found and is learnt from all the same, as the settings "
            "say.</p>"
        )
    counts = figures["left_out"] | figures["left_in"]
    shown = {what: lines for what, lines in figures["examples"].items() if lines}
    parts += [
        folded(f"Examples: {what}", bullets(lines), count=f"{counts.get(what, len(lines)):,}", is_open=place == 0)
        for place, (what, lines) in enumerate(shown.items())
    ]
    return parts


def _cleaning(figures: Figures) -> list[str]:
    cleaning = figures["cleaning"]
    num_turns = cleaning.get("num_turns", 0)
    asked = {
        kind: [one["name"] for one in figures["settings"].get("text", {}).get(kind, [])]
        for kind in ("cleaning", "filters")
    }
    parts = []
    for title, kind, effects in (
        ("Steps", "cleaning", cleaning.get("steps", {})),
        ("Filters", "filters", cleaning.get("filters", {})),
    ):
        idle = [name for name in asked[kind] if not any(effect.split(" (")[0] == name for effect in effects)]
        if not effects and not idle:
            parts.append(
                f"<p><b>{title}.</b> <span class=quiet>None is asked for: <code>text.{kind}</code> is empty.</span></p>"
            )
            continue
        most = max((effect["count"] for effect in effects.values()), default=1)
        verb = "turns changed" if kind == "cleaning" else "turns refused"
        rows = [
            [
                identifier(name),
                f"{effect['count']:,}",
                percent(effect["count"] / max(num_turns, 1)),
                Bar(effect["count"] / most),
            ]
            for name, effect in effects.items()
        ]
        parts.append(f"<h3>{title}</h3>{table(['', verb, '', ''], rows) if rows else ''}")
        if idle:
            parts.append(f"<p class=quiet>Found nothing to do: {text(', '.join(idle))}.</p>")
        for place, (name, effect) in enumerate(effects.items()):
            lines = [changed(before, after) for before, after in effect["examples"]]
            parts.append(folded(f"Examples: {name}", bullets(lines), is_open=place == 0))
    return [f"<p class=quiet>Of {num_turns:,} turns. White space is always put right and not counted.</p>", *parts]


def _lengths(figures: Figures) -> list[str]:
    limits, train = figures["limits"], figures["splits"]["train"]
    num_cut, num = figures["num_cut_replies"], train["num_exchanges"] or 1
    of_talks = figures["conversation_lengths"]
    turns = limits["max_context_turns"]
    return [
        "<p class=quiet>Of the training split. Hover a bar for its number.</p><div class=side>",
        figure("Tokens of a context", histogram(figures["context_lengths"], "tokens", limits["max_context_tokens"])),
        figure("Tokens of a reply", histogram(figures["reply_lengths"], "tokens", limits["max_reply_tokens"])),
        figure("Exchanges of a conversation", histogram(of_talks, "exchanges")),
        f"<div><h3>What is cut</h3><p>{percent(num_cut / num)} of the replies ({num_cut:,}) are longer than they may "
        "be, and end without <b class=control>&lt;end&gt;</b></p><p>Contexts lose their oldest turns first"
        f"{f'; they have at most {turns} turns' if turns else ''}.</p><p>A conversation has one turn more than "
        "exchanges, when none of its replies is left out.</p></div></div>",
    ]


def _replies(figures: Figures) -> list[str]:
    top = figures["top_replies"]
    num = figures["splits"]["train"]["num_exchanges"] or 1
    most = max((count for _, count in top["replies"]), default=1)
    rows = [[said(reply), f"{count:,}", percent(count / num), Bar(count / most)] for reply, count in top["replies"]]
    return [
        tiles(
            [
                (number(top["num_different"]), "different replies"),
                (percent(top["num_said_once"] / num), "of all are said only once"),
                (percent(top["share_of_exchanges"]), f"of all are one of these {len(rows)}"),
                (percent(top["share_of_reply_tokens"]), "of the reply tokens are theirs"),
            ]
        ),
        table(["reply", "times", "", ""], rows, "replies"),
    ]


def _vocabulary(figures: Figures) -> list[str]:
    found = figures["vocabulary"]
    unknown = found["share_of_unknown_tokens"]
    shares = [
        (
            percent(found["num_ids_in_replies"] / max(found["num_ids"], 1)),
            f"of {found['num_ids']:,} ids stand in a reply",
        ),
        (number(found["num_ids_said_fewer_than_10_times"]), "ids are said fewer than 10 times"),
        (number(found["bytes_per_token"]), "bytes per token"),
        (number(found["tokens_per_word"]), "tokens per word *"),
        (percent(found["coverage"]), "of the text has tokens *"),
    ]
    if unknown is not None:
        shares.append((percent(unknown), "of the tokens are the unknown one"))
    return [
        "<div class=side>",
        figure(
            "How often tokens are said",
            rank_plot([(rank, count, token) for rank, count, token in figures["token_ranks"]]),
        ),
        f"<div>{tiles(shares)}<p class=quiet>* of {found['num_sampled_replies']:,} replies, evenly spaced; all else of "
        "every reply to learn from.</p><p class=quiet>The dotted line is Zipf's law, 1/rank; a curve that falls off "
        "early has ids that are hardly ever learnt. ␣ is the blank that a token begins with.</p></div></div>",
    ]


def _samples(figures: Figures) -> list[str]:
    limit = figures["limits"]["max_reply_tokens"]
    talks = []
    for sample in figures["samples"]:
        context = "".join(f"<p class={_side(turn['control'])}>{_turn(turn)}</p>" for turn in sample["context"])
        reply = "".join(_turn(turn) for turn in sample["reply"])
        is_cut = not any(turn["control"] == "<end>" for turn in sample["reply"])
        note = f" · cut at {limit} tokens" if is_cut and limit else ""
        talks.append(
            f"<article class=talk>{context}<p class=reply>{reply}</p>"
            f"<small>{text(sample['conversation'])} · row {sample['row']:,}{note}</small></article>"
        )
    return [
        f"<p class=quiet>{len(talks)} random exchanges to learn from. Each underlined piece is a token, "
        "<b class=control>&lt;like this&gt;</b> a control token; what is framed is the reply to learn.</p>",
        f"<div class=talks>{''.join(talks)}</div>",
    ]


def _side(control: str | None) -> str:
    return {"<self>": "self", "<other>": "other"}.get(control or "", "known")


def _turn(turn: dict[str, Any]) -> str:
    control = f"<b class=control>{text(turn['control'])}</b>" if turn["control"] else ""
    return f"{control}<bdi>{''.join(f'<span class=t>{text(token)}</span>' for token in turn['tokens'])}</bdi>"


def _corpora(figures: Figures) -> list[str]:
    cards = []
    for corpus in figures["corpora"]:
        about, exchanges = corpus["about"] or {}, corpus["num_exchanges"]
        listed = "".join(
            f"<li><code>{text(file['file'])}</code><br><code class=quiet>{text(file['sha256'])}</code>"
            for file in corpus["files"]
        )
        rows: list[list[object]] = [[_key(split, split), f"{count:,}"] for split, count in exchanges.items()]
        if about:
            rows += [["licence, as its authors state it", about["licence"]], ["source", _link(about["citation"])]]
        share = corpus["share"]
        cards.append(
            f"<div><h3>{text(about.get('title', corpus['reader']))}</h3><p class=quiet>reader "
            f"<code>{text(corpus['reader'])}</code>, {percent(share)} of what is learnt from</p>"
            f"<div class=stack aria-hidden=true><i class=fill-train style='flex:{share}'></i>"
            f"<i class=fill-rest style='flex:{1 - share}'></i></div>{table([], rows)}"
            f"{folded('Files and their sha256', f'<ul>{listed}</ul>', count=len(corpus['files']))}</div>"
        )
    return [f"<div class=corpora>{''.join(cards)}</div>" if cards else "<p class=quiet>The manifest names none.</p>"]


def _link(address: str) -> Html:
    if not address.startswith(("https://", "http://")):
        return text(address)
    return Html(f'<a href="{text(address)}" rel="noreferrer">{text(address.split("://", 1)[1])}</a>')
