"""The answers of the second study in words: each sentence follows from the numbers, whatever has been measured yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd

from sapd_plugin.evaluation.mask_verdict import BETTER_ALONE, SHUFFLED, TWIN, paired
from sapd_plugin.evaluation.statistics import Interval
from studies.sam_priors.measurements import DIGITS, Study, overall, text
from studies.sam_priors.students import CLAIMS, LEVEL, LOOKED_FOR, REGIMES, STOCK, claims, seeds_needed, spread

STUDENT, TEST = 'NAFNet-w8', 'CBSD68_sigma50'
PILOT, PLANNED = ('noise50_ideas', STUDENT, 'val'), 5  # seeds
SCRATCH, TRAINED = 'noise50_scratch', 'noise50_trained'
TASKS = {
    'noise50_converged': 'Denoising, sigma 50',
    'heavy_rain': 'Deraining, heavy rain',
    'strong_blur': 'Deblurring, strong shake',
}
MASKS = {
    'clean': 'masks of the clean photo',
    'restored': 'masks extracted from y',
    'felzenszwalb': 'felzenszwalb on y',
    'clean, shuffled': "another photo's masks",
}
STUDENTS = {
    'masks, over stock': ('student_clean', STOCK),
    'masks, over no masks': ('student_clean', 'student_free'),
    'sapd add, over stock': ('as_added', STOCK),
}
PANELS = ('Is z better with masks? z minus z without masks', 'Does a student gain? Denoising, sigma 50')
OTHERS = "with another photo's masks"
POINTS = 0.5  # of covering, by the protocol


class Help(NamedTuple):
    """What a kind of masks brings to z in a task: z minus that of the twin, over seeds and over photos."""

    seeds: Interval
    photos: Interval
    beside: Interval | None  # minus a network that was trained with another photo's masks; over seeds

    @property
    def shown(self) -> bool:
        """Whether the masks help by the protocol's criterion."""
        return self.seeds.low > 0 and self.photos.low > 0

    @property
    def unsure(self) -> bool:
        """Whether a network that was trained with another photo's masks may be as good."""
        return self.beside is not None and self.beside.low <= 0


def helps(study: Study) -> dict[tuple[str, str], Help]:
    """Return what was measured for question 1, by task (a table's name) and kind of masks."""
    found = {}
    for table in (table for table in TASKS if table in study.trials):
        trial = study.trials[table]
        for kind in (kind for kind in MASKS if kind in trial.kinds):
            own, shuffled = trial.gain(kind), f'{kind}{SHUFFLED}'
            beside = paired(own, trial.gain(shuffled))[0] if shuffled in trial.kinds else None
            found[table, kind] = Help(*paired(own, trial.gain(TWIN)), beside)
    return found


def differences(study: Study) -> pd.DataFrame:
    """Return the differences that the study is about: those of z, and of students with several seeds, in groups.

    Returns:
        The columns panel, group, row, mean, half (of the 95 % interval over seeds) and looked for, all in dB.
    """
    rows = [
        (PANELS[0], TASKS[table], MASKS[kind], each.seeds.mean, each.seeds.high - each.seeds.mean)
        for (table, kind), each in helps(study).items()
    ]
    for table, regime in REGIMES.items():
        for name, (arm, base) in STUDENTS.items():
            gaps = study.gaps(arm, base, table, STUDENT, TEST)
            if len(gaps) > 1:
                mean, half, _ = overall(gaps)
                rows.append((PANELS[1], _title(regime), name, mean, half))
    frame = pd.DataFrame(rows, columns=['panel', 'group', 'row', 'mean', 'half'])
    return frame.assign(**{'looked for': LOOKED_FOR})


def summary(study: Study) -> str:
    """Return the answer in two sentences."""
    tested = claims(study, STUDENT, TEST)
    measured = tested['regime'].nunique()
    holds = tested[tested['holds']]
    gained, by_masks = (
        holds.loc[holds['claim'] == claim, 'regime'].tolist() for claim in ("the method's", "the masks'")
    )
    if gained:
        own = [name for name in gained if name in by_masks]
        masks = f'masks have a part in it ({", ".join(own)})' if own else 'no part of it is shown to be due to masks'
        students = f'**A student gains over stock** ({", ".join(gained)}); {masks}.'
    elif measured:
        where = f'{_of(measured, len(REGIMES))} regimes measured'
        students = f'**No gain of a student over stock is shown** ({where}).'
    else:
        students = '**No gain of a student is shown**; the runs that decide it are not complete.'
    return f'{_help_counts(study)} {students}'


def _help_counts(study: Study) -> str:
    found = helps(study)
    shown = {kind: [each for (_, k), each in found.items() if k == kind and each.shown] for kind in MASKS}
    unsure = sum(each.unsure for each in shown['clean'])
    but = f" (in {unsure} of them not shown to be better than another photo's)" if unsure else ''
    tasks = len({table for table, _ in found})
    return (
        f'Masks of the clean photo make z better in {_of(len(shown["clean"]), tasks)} tasks{but}; masks extracted '
        f'from y, as in the paper, in {len(shown["restored"])}.'
    )


def teacher(study: Study) -> Iterator[str]:
    """Yield question 1's answer: a sentence per task, then whether what was looked for was found."""
    found = helps(study)
    for table, task in TASKS.items():
        kinds = [kind for kind in ('clean', 'restored') if (table, kind) in found]
        if not kinds:
            continue
        parts = []
        for kind in kinds:
            each = found[table, kind]
            verdict = 'a gain' if each.shown else 'no gain is shown'
            if each.shown and each.beside and each.unsure:
                verdict = f'{BETTER_ALONE.format(OTHERS)} ({each.beside.text(3, "+")} dB)'
            parts.append(f'{MASKS[kind]} {each.seeds.text(3, "+")} dB, {verdict}')
        yield f'{task}: {"; ".join(parts)}.'
    reached = {
        kind: sum(each.seeds.mean >= LOOKED_FOR for (_, k), each in found.items() if k == kind)
        for kind in ('clean', 'restored')
    }
    yield (
        f'We looked for {LOOKED_FOR:+.2f} dB in two tasks. Masks of the clean photo reach it in {reached["clean"]}, '
        f'masks extracted from y in {reached["restored"]}.'
    )


def recipes(study: Study) -> str:
    """Return question 2's answer: the best of the arms with several seeds."""
    rows = study.ideas_of(*PILOT)
    tried = [arm for arm in rows['arm'] if arm != STOCK and not arm.startswith('teach_') and not arm.endswith('_free')]
    several = rows[rows['arm'].isin(tried) & (rows['seeds'] > 1)]
    if several.empty:
        return f'{len(tried)} recipes were tried, none with several seeds yet.'
    best = several.iloc[0]
    shown = 'A gain is shown' if best['over'].startswith('**+') else 'No gain is shown'
    return (
        f'{shown}. {len(tried)} recipes were tried, {len(several)} of them with several seeds. The best of those with '
        f'several seeds, `{best["arm"]}`, differs from stock by {best["over"].strip("*")} dB ({best["seeds"]} seeds, '
        'from scratch, validation photos).'
    )


def students(study: Study) -> Iterator[str]:
    """Yield question 3's answer: a sentence per regime, and what was not measured."""
    tested = claims(study, STUDENT, TEST)
    for table, regime in REGIMES.items():
        rows = tested[tested['regime'] == regime]
        if not rows.empty:
            parts = [_claim(row) for row in rows[::-1].itertuples()]
            parts += [
                f'{claim} claim was not tested with several seeds yet'
                for claim in CLAIMS
                if claim not in set(rows['claim'])
            ]
            yield f'{_title(regime)} ({rows["seeds"].max()} seeds): {"; ".join(parts)}.'
        else:
            yield f'{_title(regime)}: {_unmeasured(study, table)}.'


def _claim(row: Any) -> str:
    base = {'student_free': 'the same recipe without masks', STOCK: 'stock'}[CLAIMS[row.claim][1]]
    verdict = 'does not hold'
    if row.holds:
        verdict = 'holds' if row.mean >= LOOKED_FOR else f'holds, below the {LOOKED_FOR:+.2f} dB that we looked for'
    elif row.mean < 0 and row.corrected < LEVEL:
        verdict = 'does not hold: this is a loss'
    p = 'p < 0.001' if row.corrected < 0.001 else f'p = {row.corrected:.3f}'
    return f'{row.difference} dB over {base}, so {row.claim} claim {verdict} ({p})'


def _unmeasured(study: Study, table: str) -> str:
    if table == SCRATCH:
        deviation, freedom = spread(study, *PILOT)
        needed = seeds_needed(deviation) if freedom else 0
        if needed > PLANNED:
            return (
                f'not run with several seeds. According to the pilot, an interval of ± {LOOKED_FOR:.2f} dB needs '
                f'{needed} seeds; {PLANNED} were planned'
            )
    return 'not measured with several seeds yet'


def defaults(study: Study) -> str:
    """Return whether what ``sapd add`` writes does harm."""
    gaps = study.gaps('as_added', STOCK, TRAINED, STUDENT, TEST)
    if len(gaps) < 2:
        return 'Not measured with several seeds yet.'
    interval = Interval.of(gaps.tolist())
    verdict = 'No harm is shown, and no gain'
    if interval.high < 0:
        verdict = 'Yes, they do harm'
    elif interval.low > 0:
        verdict = 'No, they gain'
    return f'{verdict}: PSNR minus that of stock {interval.text(3, "+")} dB ({len(gaps)} seeds, {REGIMES[TRAINED]}).'


def longer(study: Study) -> str:
    """Return what stock gains by a training that takes about as long as the recipe; '' if it was not measured."""
    short, long = (
        study.values(arm, table, STUDENT, TEST) for arm, table in ((STOCK, SCRATCH), ('pretraining', TRAINED))
    )
    gaps = (long - short).dropna()
    if gaps.empty:
        return ''
    steps = [
        study.arms(table).set_index(['model', 'arm'])['iterations'][STUDENT, arm]
        for table, arm in ((SCRATCH, STOCK), (TRAINED, 'pretraining'))
    ]
    gained = text(overall(gaps))
    return (
        f'Stock from scratch gains {gained} dB by {steps[1] / steps[0]:.2g} times the iterations ({steps[1]:,.0f} for '
        f'{steps[0]:,.0f}; {_seeds(len(gaps))}). The recipe with its teacher takes {_price(study)}.'
    )


def _price(study: Study) -> str:
    seconds = study.arms(TRAINED).query('model == @STUDENT').set_index('arm')['seconds']
    if not {STOCK, 'teach_clean', 'student_clean'} <= set(seconds.index):
        return 'about as long ([protocol](PROTOCOL.md#changes))'
    factor = (seconds['teach_clean'] + seconds['student_clean']) / seconds[STOCK]
    return f'{factor:.1f} times as long as stock, on a machine that did other work as well'


def beyond(study: Study) -> Iterator[str]:
    """Yield question 4's answer: SSIM, then the agreement of masks."""
    ssim = []
    for table, regime in REGIMES.items():
        gaps = study.gaps('student_clean', STOCK, table, STUDENT, TEST, 'ssim')
        if len(gaps) > 1:
            ssim.append(f'{regime} {text(overall(gaps), DIGITS["ssim"], bold=True)} ({len(gaps)} seeds)')
    if ssim:
        yield f'SSIM of students with masks of the clean photo, over stock: {"; ".join(ssim)}.'
    else:
        yield 'SSIM was not measured with several seeds yet.'
    if study.segmentation(TRAINED).empty:
        yield 'The agreement of masks on restored images was not measured yet.'
        return
    gap = 100 * study.segmented(TRAINED, 'covering')
    seeds = study.segments.loc[study.segments['table'] == TRAINED, 'seed'].nunique()
    over = _seeds(seeds) if seeds > 1 else 'one seed, interval over photos'
    verdict = 'is reached' if gap['mean'] >= POINTS and gap['mean'] > gap['half'] else 'is not shown'
    yield (
        f"Covering of the clean photo's masks by those of the restored photo, with SGR minus stock: {text(gap, 2)} "
        f'points ({over}). {POINTS:+.1f}, which we looked for, {verdict}.'
    )


def _title(name: str) -> str:
    return name[0].upper() + name[1:]


def _of(number: int, total: int) -> str:
    return f'{number} of {total}'


def _seeds(number: int) -> str:
    return '1 seed' if number == 1 else f'{number} seeds'
