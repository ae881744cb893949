"""``sapd add`` writes the delta into configs of users."""

from __future__ import annotations

import argparse
import copy
import shlex
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

from sapd_plugin.basicsr.base_models import base_model_class
from sapd_plugin.basicsr.delta import add_delta, stock_options
from sapd_plugin.basicsr.options import check_options, parse_yaml
from sapd_plugin.basicsr.yaml_text import YamlText
from sapd_plugin.cli import add, extract_masks
from sapd_plugin.errors import SAPDError
from sapd_plugin.mmagic.delta import delta_of, read_config
from sapd_plugin.mmagic.delta import stock_model as stock_mmagic_model
from tests.adapters_mmagic import recipes as mmagic_recipes
from tests.photos import ROOT

CONFIGS = ROOT / 'configs/basicsr'
STOCK = sorted(CONFIGS.glob('*/*_stock.yml'))
TWINS = [path for path in STOCK if path.with_name(path.name.replace('_stock', '_sapd')).is_file()]
# A user's file, with all that a round trip through a YAML writer would change.
OWN = """# mine
name: 'own'   # quoted
model_type: SRModel
scale: 1
num_gpu: auto

datasets:
  train:
    type: PairedImageDataset  # pairs
    dataroot_gt: "data/gt"
    io_backend: {type: disk}

network_g:
  type: SRVGGNetCompact
  num_feat: 8
  # after the last key
path:
  resume_state: ~
train:
  optim_g:
    type: Adam
    lr: !!float 2e-4
  pixel_opt:
    type: L1Loss
  total_iter: 10   # short
"""


def test_every_other_line_of_a_yaml_stays(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / 'own.yml').write_text(OWN)
    assert add.main([str(tmp_path / 'own.yml'), '--masks', 'masks/own']) == 0
    text = (tmp_path / 'own_sapd.yml').read_text()
    lines = text.splitlines()
    kept = [
        line for line in OWN.splitlines() if not line.startswith(('name', 'model_type', '    type: PairedImageDataset'))
    ]
    assert [line for line in lines if line and line in kept] == [line for line in kept if line]
    assert 'name: own_sapd   # quoted' in lines
    assert 'model_type: !!python/object/apply:sapd_plugin.use [SAPDModel]' in lines
    assert '    type: PairedImageMaskDataset  # pairs\n    mask_store: masks/own\n' in text
    assert 'network_spf:\n  type: SPF\n' in text
    shown = capsys.readouterr().out
    assert '-    type: PairedImageDataset  # pairs' in shown
    assert '+    type: PairedImageMaskDataset  # pairs' in shown
    assert 'no mask store at masks/own yet' in shown
    assert 'sapd check' in shown
    options = parse_yaml(text)
    assert options['model_type'] == 'SAPDModel'
    assert options['train']['optim_g']['lr'] == 2e-4


@pytest.mark.parametrize('path', STOCK, ids=lambda path: path.stem)
def test_the_result_of_every_stock_config_is_one_that_training_accepts(path: Path) -> None:
    text = path.read_text(encoding='utf-8')
    stock, sapd = parse_yaml(text), parse_yaml(add_delta(text, 'masks/x'))
    back = stock_options(copy.deepcopy(sapd))
    back['datasets']['train'].pop('mask_store')
    back['datasets']['train']['type'] = stock['datasets']['train']['type']
    assert {**back, 'name': stock['name']} == stock
    sapd['datasets']['train'].update(phase='train')
    base_model_class(sapd)
    check_options(sapd)


@pytest.mark.parametrize('path', TWINS, ids=lambda path: path.stem)
def test_the_delta_is_that_of_the_shipped_twin(path: Path) -> None:
    twin = parse_yaml(path.with_name(path.name.replace('_stock', '_sapd')).read_text(encoding='utf-8'))
    store = twin['datasets']['train']['mask_store']
    made = parse_yaml(add_delta(path.read_text(encoding='utf-8'), store))
    assert {**made, 'name': ''} == {**twin, 'name': ''}


def test_settings_of_the_branch_reach_the_block() -> None:
    spf = {'fusion': 'image', 'encoding': 'region_mean', 'network.num_feat': 16}
    text = (CONFIGS / 'sr/edsr_m_x4_stock.yml').read_text()
    block = parse_yaml(add_delta(text, 'm', spf=spf))['network_spf']
    assert block['encoding'] == 'region_mean'
    assert (block['network']['type'], block['network']['num_feat'], block['network']['upscale']) == ('EDSR', 16, 1)
    other = {'network.type': 'NAFNet', 'network.width': 8}
    assert parse_yaml(add_delta(text, 'm', spf=other))['network_spf']['network'] == {'type': 'NAFNet', 'width': 8}
    assert 'sgr_opt' not in parse_yaml(add_delta(text, 'm', losses=['spd']))['train']
    combined = parse_yaml(add_delta(text, 'm', spf={'fusion': ['modulate', 'map']}))['network_spf']
    assert combined['fusion'] == ['modulate', 'map']
    with pytest.raises(SAPDError, match=r"--spf.fusion: found 'modulated'.*Did you mean 'modulate'"):
        add_delta(text, 'm', spf={'fusion': 'modulated'})
    with pytest.raises(SAPDError, match=r'--spf.planes: read by fusion: image alone'):
        add_delta(text, 'm', spf={'planes': 4})


def test_flow_mappings_are_extended_in_line() -> None:
    text = OWN.replace(
        '  train:\n    type: PairedImageDataset  # pairs\n    dataroot_gt: "data/gt"\n    io_backend: {type: disk}\n',
        '  train: {type: PairedImageDataset, dataroot_gt: data/gt}\n',
    )
    train = parse_yaml(add_delta(text, 'm: x'))['datasets']['train']
    assert train == {'type': 'PairedImageMaskDataset', 'mask_store': 'm: x', 'dataroot_gt': 'data/gt'}


def test_an_entry_goes_behind_a_literal_block() -> None:
    document = YamlText('a:\n  b: |\n    text\n    more\n# c\nd: 1')
    document.insert(('a', 'b'), {'e': [1, 2]})
    assert document.render() == 'a:\n  b: |\n    text\n    more\n  e: [1, 2]\n# c\nd: 1\n'


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('model_type: SRModel', 'model_type: SAPDModel', 'trains with SAM priors already'),
        ('model_type: SRModel', 'model_type: RealESRGANModel', 'base_model_type: RealESRGANModel cannot be used'),
        ('model_type: SRModel', 'model_type: SRModle', "Did you mean 'SRModel'"),
        ('PairedImageDataset', 'REDSDataset', "base_dataset_type: 'REDSDataset' gives no pairs of single images"),
        ('network_g:', 'network_h:', 'network_g: missing'),
        ('scale: 1', 'scale: [1', 'not a BasicSR YAML'),
    ],
)
def test_what_cannot_be_added_to_is_refused(old, new, message, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / 'own.yml').write_text(OWN.replace(old, new))
    assert add.main([str(tmp_path / 'own.yml'), '--masks', 'm']) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'own_sapd.yml').exists()


def test_nothing_is_overwritten_unasked(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    own = tmp_path / 'own.yml'
    own.write_text(OWN)
    command = [str(own), '--masks', 'm']
    assert add.main([*command, '-o', str(own)]) == 2
    assert own.read_text() == OWN
    assert add.main(command) == 0
    assert add.main(command) == 2
    assert 'own_sapd.yml exists' in capsys.readouterr().err
    assert add.main([*command, '--force', '--losses', 'spd']) == 0
    assert 'sgr_opt' not in (tmp_path / 'own_sapd.yml').read_text()
    assert add.main([*command, '-o', str(own), '--force']) == 0
    made = parse_yaml(own.read_text())
    assert (made['model_type'], made['name']) == ('SAPDModel', 'own')


def test_variants_of_a_config_do_not_share_an_experiment(tmp_path: Path) -> None:
    (tmp_path / 'own.yml').write_text(OWN)
    for fusion in ('modulate', 'none'):
        out = tmp_path / f'own_{fusion}.yml'
        command = [str(tmp_path / 'own.yml'), '--masks', 'm', '--spf', f'fusion={fusion}', '-o', str(out)]
        assert add.main(command) == 0
        assert parse_yaml(out.read_text())['name'] == out.stem


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['gone.yml'], 'expected a BasicSR YAML or an MMagic config'),
        (['own.yml', '-o', 'x.py'], 'expected a name that ends with .yml'),
        (['own.yml', '--spf', 'encodnig=none'], "--spf: unknown key 'encodnig'"),
        (['own.yml', '--spf', 'none'], 'expected KEY=VALUE'),
    ],
)
def test_mistakes_of_the_command_line(
    arguments, message, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path('own.yml').write_text(OWN)
    assert add.main([*arguments, '--masks', 'm']) == 2
    assert message in capsys.readouterr().err


def test_both_kinds_of_masks_are_explained_with_the_commands_that_make_them(
    pairs: Path, store: Path, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path('own.yml').write_text(OWN.replace('"data/gt"', 'data/gt\n    dataroot_lq: my data/lq'))
    mmagic_recipes.write_config(mmagic_recipes.stock_config(pairs), Path('own.py'))
    folders = {'own.yml': ('data/gt', "'my data/lq'"), 'own.py': (f'{pairs}/clean', f'{pairs}/rainy')}
    for config, (target, degraded) in folders.items():
        assert add.main([config, '--masks', 'm']) == 0
        made = [line for line in capsys.readouterr().out.splitlines() if line.startswith('  sapd extract-masks')]
        common = 'sapd extract-masks --output m --segmenter sam --checkpoint SAM.pth --images'
        assert [line.strip() for line in made] == [
            f'{common} {target} --source target',
            f'{common} {degraded} --restored-by {config} STUDENT.pth',
        ]
        for line in made:
            extract_masks.add_arguments(parser := argparse.ArgumentParser())
            assert parser.parse_args(shlex.split(line)[2:]).output == Path('m')
    Path('own.yml').write_text(OWN)
    assert add.main(['own.yml', '--masks', 'm', '--force']) == 0
    assert '--images FOLDER_OF_DEGRADED_IMAGES --restored-by' in capsys.readouterr().out
    assert add.main(['own.yml', '--masks', str(store), '--force']) == 0
    out = capsys.readouterr().out
    assert f'masks: {store}, source unknown' in out
    assert 'extract-masks' not in out


def test_the_context_of_photos_is_asked_of_the_data_set_as_well(pairs: Path) -> None:
    text = add_delta(OWN, 'm', spf={'context': 'image'})
    options = parse_yaml(text)
    assert options['network_spf']['context'] == 'image'
    assert options['datasets']['train']['mask_context'] is True
    made = Config.fromstring(
        delta_of(Config(mmagic_recipes.stock_config(pairs)), 'own.py', 'm', spf={'context': 'image'}).replace(
            "_base_ = 'own.py'", ''
        ),
        '.py',
    )
    assert made.train_dataloader.dataset.mask_context is True
    assert 'mask_context' not in add_delta(OWN, 'm')


def test_an_mmagic_config_becomes_the_base(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    stock = mmagic_recipes.stock_config(pairs)
    stock['custom_imports'] = {'imports': ['math'], 'allow_failed_imports': True}
    stock['experiment_name'], stock['work_dir'] = 'own', './work_dirs/own'
    inner = stock['train_dataloader']['dataset']
    stock['train_dataloader']['dataset'] = {'type': 'RepeatDataset', 'times': 2, 'dataset': inner}
    base = mmagic_recipes.write_config(stock, tmp_path / 'own.py')
    (tmp_path / 'sub').mkdir()
    output = tmp_path / 'sub/new.py'
    assert add.main([str(base), '--masks', 'm', '-o', str(output), '--spf', 'max_regions=4']) == 0
    assert output.read_text() in capsys.readouterr().out
    assert "_base_ = '../own.py'" in output.read_text()
    made = Config.fromfile(output)
    assert made.custom_imports == {'imports': ['math', 'sapd_plugin.mmagic'], 'allow_failed_imports': True}
    assert (made.experiment_name, made.work_dir) == ('new', './work_dirs/new')
    assert made.model.network_spf == {'type': 'SPF', 'max_regions': 4}
    assert stock_mmagic_model(made.model) == Config(stock).model
    dataset = made.train_dataloader.dataset
    assert (dataset.type, dataset.times) == ('RepeatDataset', 2)
    assert dataset.dataset == {**inner, 'type': 'PairedImageMaskDataset', 'mask_store': 'm'}
    assert made.default_hooks.sapd.type == 'SAPDHook'
    assert made.default_hooks.logger == stock['default_hooks']['logger']
    assert add.main([str(output), '--masks', 'm']) == 2
    assert 'trains with SAM priors already' in capsys.readouterr().err


def test_the_mmagic_delta_is_that_of_the_shipped_configs() -> None:
    for name in ('deblur/nafnet_gopro_sapd', 'sr/edsr_x4_div2k_sapd', 'denoise/restormer_sidd_sapd'):
        shipped = ROOT / f'configs/mmagic/{name}.py'
        twin = Config.fromfile(shipped)
        base = next(line for line in shipped.read_text().splitlines() if line.startswith('_base_')).split("'")[1]
        config = read_config(base if '::' in base else str(shipped.parent / base))
        store = twin.train_dataloader.dataset.mask_store
        made: dict = {}
        exec(delta_of(config, base, store), made)
        network = made['model']['network_spf'].get('network', {})
        assert network.get('upscale_factor', 1) == 1
        assert made['model']['network_spf'].keys() == twin.model.network_spf.keys()
        for model in (config.model, twin.model):
            model.pop('_scope_', None)  # MMEngine's mark of a base in another package
        assert {**config.model, **made['model'], 'network_spf': 0} == {**twin.model, 'network_spf': 0}
        assert made['train_dataloader']['dataset']['mask_store'] == store
        assert twin.train_dataloader.dataset.type == made['train_dataloader']['dataset']['type']


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'model:type': 'SRGAN'}, 'model.base_model_type: SRGAN cannot be used'),
        ({'train_dataloader': None}, 'error: train_dataloader: missing, expected the config of an MMagic training'),
    ],
)
def test_mmagic_models_that_cannot_be_wrapped_are_refused(
    change, message, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = mmagic_recipes.write_config(mmagic_recipes.stock_config(pairs, **change), tmp_path / 'own.py')
    assert add.main([str(config), '--masks', 'm']) == 2
    assert message in capsys.readouterr().err


def test_a_network_that_upscales_gets_a_small_one_in_mmagic(pairs: Path) -> None:
    config = Config(mmagic_recipes.stock_config(pairs))
    for generator, network in (
        ({'type': 'MSRResNet', 'in_channels': 3, 'out_channels': 3}, 'EDSRNet'),
        ({'type': 'SwinIRNet', 'upscale': 2, 'upsampler': 'pixelshuffle'}, 'EDSRNet'),
        ({'type': 'SwinIRNet', 'upscale': 1, 'upsampler': ''}, None),
    ):
        config.model['generator'] = generator
        made: dict = {}
        exec(delta_of(config, 'x', 'm'), made)
        assert made['model']['network_spf'].get('network', {}).get('type') == network
        assert yaml.safe_dump(made['model']['network_spf'])
