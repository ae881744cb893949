"""Tables as data: the shipped ones are complete, and mistakes are named."""

from __future__ import annotations

import pytest
import yaml

from sapd_plugin.errors import SAPDError
from sapd_plugin.experiments.catalogue import read_catalogue, select_cells
from sapd_plugin.paths import configs
from tests.experiments.recipes import TABLE, catalogue, definitions

SHIPPED = read_catalogue()


@pytest.mark.parametrize('name', SHIPPED.tables)
def test_a_shipped_table_has_all_it_needs(name):
    table = SHIPPED.tables[name]
    assert table.tests
    short = name == 'quickstart' or table.group
    assert {'stock', 'spd_sgr'} | (set() if short else {'cascade', 'spd', 'shuffled'}) <= set(table.arms)
    assert short or len(table.seeds) >= 3
    for model, entry in table.entries.items():
        assert entry.configs, model
        for framework, config in entry.configs.items():
            assert config.is_file()
            assert config.is_relative_to(configs() / framework)
        for overrides in SHIPPED.models[model].sizes.values():
            assert overrides.keys() == entry.configs.keys()
    assert short or any('tiny' in SHIPPED.models[model].sizes for model in table.entries)
    for yardstick in table.yardsticks:
        assert len(yardstick.source) > 5
        assert 15 < yardstick.psnr < 60
        assert yardstick.ssim is None or 0.3 < yardstick.ssim < 1


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'protcol': 'y'}, r"trial.yml: unknown key 'protcol'.*Did you mean 'protocol'"),
        ({'arms': ['stok']}, r"trial.yml arms: found 'stok'.*Did you mean 'stock'"),
        ({'sizes': ['huge']}, r"trial.yml.sizes\[0\]: found 'huge', expected one of full, small, tiny"),
        ({'quantise': 'ceil'}, r"trial.yml.quantise: found 'ceil'"),
        ({'models': {'RCAM': {}}}, r"trial.yml models: found 'RCAM'.*Did you mean 'RCAN'"),
        ({'models': {'RCAN': {'basicsr': 'derain/absent.yml'}}}, r'models.RCAN.basicsr: no file .*absent.yml'),
        ({'models': {'RCAN': {'basicrs': 'x'}}}, r"models.RCAN: unknown key 'basicrs'.*Did you mean 'basicsr'"),
        (
            {'models': {'RCAN': {'arms': ['spdd']}}},
            r"trial.yml models.RCAN.arms: found 'spdd', expected one of .*'spd'",
        ),
        (
            {'mask_provider': 'RCAM', 'models': {'RCAN': TABLE['models']['RCAN']}},
            "mask_provider: .*Did you mean 'RCAN'",
        ),
        ({'mask_provider': 'RCAN'}, "mask_provider: found 'RCAN'"),  # which has no config of MMagic, as others have
        ({'yardsticks': [{'model': 'RCAN', 'test': 'Rain100L', 'psnr': 1}]}, r'yardsticks\[0\].*source'),
        ({'yardsticks': [{'model': 'RCAN', 'test': 'Rain100', 'psnr': 1, 'source': 'x'}]}, r'yardsticks\[0\].test'),
    ],
)
def test_a_mistake_in_a_table_is_named(tmp_path, changes, message):
    with pytest.raises(SAPDError, match=message):
        catalogue(tmp_path, **changes)


def test_a_file_that_is_not_a_table_is_named(tmp_path):
    definitions(tmp_path)
    (tmp_path / 'other.yml').write_text('a: [')
    with pytest.raises(SAPDError, match=r'other\.yml: not YAML'):
        read_catalogue(tmp_path)
    (tmp_path / 'other.yml').write_text(yaml.safe_dump({k: v for k, v in TABLE.items() if k != 'protocol'}))
    with pytest.raises(SAPDError, match=r"other\.yml: found no key 'protocol'"):
        read_catalogue(tmp_path)


@pytest.mark.parametrize(
    ('arm', 'message'),
    [
        ({'spf': {}, 'teacher': 'spf'}, "taught.teacher: found 'spf', expected one of .*Did you mean 'spd'"),
        ({'spf': {}, 'teacher': 'stock'}, "taught.teacher: found 'stock', expected one of"),
        ({'spf': {}, 'teacher': 'taught'}, "taught.teacher: found 'taught', expected one of"),
        ({'teacher': 'spd'}, 'taught.teacher: found spd and no spf'),
    ],
)
def test_a_teacher_is_an_arm_that_trains_spf_by_itself(tmp_path, arm, message):
    folder = definitions(tmp_path)
    (folder / 'arms.yml').write_text(yaml.safe_dump({'taught': {'label': 'taught', **arm}}))
    with pytest.raises(SAPDError, match=message):
        read_catalogue(folder)


def test_definitions_of_ones_own_extend_the_shipped_ones(tmp_path):
    folder = definitions(tmp_path)
    (folder / 'arms.yml').write_text(yaml.safe_dump({'strong': {'label': 'SPD x 10', 'spf': {}, 'spd': {}}}))
    stock = folder / 'configs/basicsr/derain/mine.yml'
    stock.parent.mkdir(parents=True)
    stock.write_text((configs() / 'basicsr/derain/rcan_rain13k_stock.yml').read_text())
    for name, config in (('mine', 'derain/mine.yml'), ('theirs', 'derain/rcan_rain13k_stock.yml')):
        (folder / f'{name}.yml').write_text(
            yaml.safe_dump({**TABLE, 'models': {'RCAN': {'basicsr': config}}, 'yardsticks': []})
        )
    found = read_catalogue(folder)
    assert found.tables.keys() == SHIPPED.tables.keys() | {'trial', 'mine', 'theirs'}
    assert found.models.keys() == SHIPPED.models.keys() | {'RCAN', 'Restormer'}
    assert found.models['Restormer'].paper == 'its paper'  # in place of the shipped one
    assert found.tables['mine'].arms == (*SHIPPED.tables['gopro'].arms, 'strong')
    assert found.tables['gopro'] == SHIPPED.tables['gopro']
    assert found.tables['mine'].entries['RCAN'].configs == {'basicsr': stock}
    assert found.tables['theirs'].entries['RCAN'].configs['basicsr'].is_relative_to(configs())


def test_cells_come_in_an_order_in_which_they_can_be_run(tmp_path):
    found = catalogue(tmp_path)
    cells = [str(cell) for cell in found.cells(found.tables['trial'], 'basicsr')]
    assert len(cells) == 2 * 5 * 3  # RCAN publishes no checkpoint here
    assert cells[0] == 'RCAN/full/stock/0'
    assert cells.index('RCAN/tiny/stock/2') < cells.index('RCAN/tiny/spd/0')
    restormer = [str(cell) for cell in found.cells(found.tables['trial'], 'mmagic')]
    assert [cell for cell in restormer if 'published' in cell] == ['Restormer/full/published/0']


@pytest.mark.parametrize(
    ('patterns', 'expected'),
    [
        ([], 30),
        (['RCAN'], 30),
        (['*/tiny'], 15),
        (['RCAN/tiny/spd*'], 6),
        (['*/*/stock/0'], 2),
        (['*/tiny/stock/1', 'RCAN/tiny/stock'], 3),
    ],
)
def test_patterns_select_cells(tmp_path, patterns, expected):
    found = catalogue(tmp_path)
    cells = list(found.cells(found.tables['trial'], 'basicsr'))
    chosen = select_cells(cells, patterns)
    assert len(chosen) == expected
    assert chosen == [cell for cell in cells if cell in chosen]


@pytest.mark.parametrize('pattern', ['RCAM', 'RCAN/tiny/spd/0/1', 'RCAN/tiny/sdp'])
def test_a_pattern_that_fits_nothing_is_named(tmp_path, pattern):
    found = catalogue(tmp_path)
    with pytest.raises(SAPDError, match=f"CELL: '{pattern}' matches none of 30 cells"):
        select_cells(list(found.cells(found.tables['trial'], 'basicsr')), [pattern])
