"""Fusions of masks in the features of any network: where they enter, what they start as, and what they depend on."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

from sapd_plugin.archs import NETWORKS
from sapd_plugin.core import SPF, build_branch
from sapd_plugin.core.fusion.partition import Partition
from sapd_plugin.core.fusion.trial import find_sites
from sapd_plugin.errors import SAPDError
from tests.networks import DropoutNet, ScalesNet, assert_equal_states
from tests.precision import HALF

REGION = ('modulate', 'map', 'attend')
FUSIONS = [*REGION, list(REGION)]
SMALL = {
    'NAFNet': {'width': 8, 'enc_blk_nums': [1, 2], 'dec_blk_nums': [1, 1]},
    'NAFNetLocal': {'width': 8, 'enc_blk_nums': [1, 2], 'dec_blk_nums': [1, 1]},
    'Restormer': {'dim': 8, 'num_blocks': [1, 1, 1, 1], 'num_refinement_blocks': 1},
    'HINet': {'wf': 8, 'depth': 3},
    'MPRNet': {'n_feat': 8, 'scale_unetfeats': 4, 'scale_orsnetfeats': 4, 'num_cab': 2, 'reduction': 4},
    'MIMOUNet': {'num_res': 1, 'base_channel': 16},
    'DnCNN': {'in_nc': 3, 'out_nc': 3, 'nc': 8, 'nb': 5},
    'FFDNet': {'in_nc': 3, 'out_nc': 3, 'nc': 8, 'nb': 5},
    'PReNet': {'recurrent_iter': 2, 'width': 8},
    'PRN_r': {'recurrent_iter': 2, 'width': 8},
    'RCAN': {'scale': 1, 'n_resgroups': 3, 'n_resblocks': 1, 'n_feats': 8, 'reduction': 4},
}
FOUND = {
    'NAFNet': ('intro', ['encoders.0.0', 'encoders.1.0', 'encoders.1.1', 'middle_blks.0']),
    'Restormer': (
        'patch_embed.proj',
        [
            'encoder_level1.0',
            'encoder_level2.0',
            'encoder_level3.0',
            'latent.0',
            'decoder_level3.0',
            'decoder_level2.0',
        ],
    ),
    'HINet': ('conv_01', ['down_path_1.0', 'down_path_1.1', 'down_path_1.2', 'down_path_2.1', 'down_path_2.2']),
    'MPRNet': ('shallow_feat3.0', ['shallow_feat3.1', 'stage3_orsnet']),
    'MIMOUNet': (
        'feat_extract.0.main.0',
        ['Encoder.0.layers.0', 'SCM2', 'Encoder.1.layers.0', 'SCM1', 'Encoder.2.layers.0'],
    ),
    'DnCNN': ('model.0', ['model.1', 'model.7']),
    'FFDNet': ('model.0', ['model.1', 'model.5']),
    'PReNet': ('conv0.0', ['conv0.1', 'res_conv3.1']),
    'RCAN': ('head.0', ['body.0', 'body.1']),
}


def small(name: str) -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[name](**SMALL[name])


class Tokens(nn.Module):
    """Blocks that pass on tokens (N,h*w,C), as SwinIR's do, at half size."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, 8, 2, stride=2), nn.ConvTranspose2d(8, 3, 2, stride=2)
        self.blocks = nn.ModuleList(TokenBlock() for _ in range(2))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.stem(image)
        tokens = features.flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens)
        return image + self.last(tokens.transpose(1, 2).view_as(features))


class TokenBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens + self.layers(tokens)


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 1) for _ in range(2))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + self.second(self.first(features).tanh())


class ZeroStarted(nn.Module):
    """Blocks whose branches start at zero, and a part that the result does not depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)
        self.branch, self.unused = (nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()) for _ in range(2))
        self.gain = nn.Parameter(torch.zeros(()))
        self.trunk = nn.ReLU()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.stem(image)
        self.unused(features)
        return image + self.last(self.trunk(features + self.gain * self.branch(features)))


def patches(n: int = 2, h: int = 32, w: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    mask = torch.randint(0, 5, (n, 1, 4, 4), generator=generator).repeat_interleave(8, 2).repeat_interleave(8, 3)
    return torch.rand(n, 3, h, w, generator=generator), mask[..., :h, :w].int()


def trained(spf: SPF) -> SPF:
    """Let the layers that start at zero be those of a later step."""
    torch.manual_seed(1)
    for parameter in spf.fuse.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return spf.eval()


@pytest.mark.parametrize('name', SMALL)
@pytest.mark.parametrize('size', [(32, 24), (27, 33)])
def test_every_network_starts_as_the_plain_cascade_and_trains_all_parameters(name, size):
    network = small(name)
    spf = SPF(network, fusion=list(REGION), inputs=['restored', 'degraded'], mask_dropout=0)
    restored, mask = patches(2, *size)
    if size != (32, 24):
        mask = torch.nn.functional.pad(mask, (0, size[1] - mask.shape[3], 0, 0), value=2)
    degraded = torch.rand_like(restored)
    spf.eval()
    assert torch.equal(spf(restored, mask, degraded), network(restored))
    spf.train()
    spf(restored, mask, degraded).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in spf.parameters() if p.requires_grad)
    started_at_zero = [p for p in spf.fuse.parameters() if not p.any()]
    assert started_at_zero
    assert all(p.grad.any() for p in started_at_zero)


@pytest.mark.parametrize('name', FOUND)
def test_the_layers_found_are_the_trunk(name):
    network = small(name).train()
    before = copy.deepcopy(network.state_dict())
    stem, layers = find_sites(network, 3, getattr(network, 'output_index', None))
    assert (stem.name, [site.name for site in layers]) == FOUND[name]
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert_equal_states(before, network.state_dict())


def test_layers_that_the_result_does_not_depend_on_are_not_found():
    _, layers = find_sites(ZeroStarted(), 3, None)
    assert [site.name for site in layers] == ['trunk']
    network = ZeroStarted()
    nn.init.zeros_(network.last.weight)  # no layer gets a gradient: all may be used
    assert [site.name for site in find_sites(network, 3, None)[1]] == ['unused.1', 'branch.1']


def test_tokens_are_modulated_as_feature_maps_are():
    spf = trained(SPF(Tokens()))
    assert [(site.name, site.stride, site.tokens) for site in spf.fuse.sites] == [
        ('blocks.0', 2, True),
        ('blocks.1', 2, True),
    ]
    restored, mask = patches()
    change = (spf(restored, mask) - spf(restored, mask.flip(3))).abs().sum((0, 1))
    assert change.any()
    other = mask.clone()
    other[..., 24:, :] = 77  # a region of its own at the bottom
    with torch.no_grad():
        spf.fuse.stem.conv.weight.zero_()
        assert spf(restored, other).shape == restored.shape


def test_random_numbers_and_batch_statistics_are_left_alone():
    network = DropoutNet().train()
    state = torch.get_rng_state()
    before = copy.deepcopy(network.state_dict())
    find_sites(network, 3, None)
    assert torch.equal(torch.get_rng_state(), state)
    assert_equal_states(before, network.state_dict())


@pytest.mark.parametrize('fusion', FUSIONS)
def test_masks_change_the_result(fusion):
    spf = trained(SPF(small('NAFNet'), fusion=fusion))
    restored, mask = patches()
    own = spf(restored, mask)
    assert not torch.allclose(own, spf(restored, mask.flip(0)), atol=1e-4)
    assert not torch.allclose(own, spf(restored, torch.zeros_like(mask)), atol=1e-4)


@settings(deadline=None, max_examples=15)
@given(st.permutations(range(1, 9)), st.integers(0, 10**6))
def test_the_order_of_regions_does_not_matter(labels, seed):
    torch.manual_seed(2)
    spf = trained(SPF(small('NAFNet'), fusion=list(REGION)))
    generator = torch.Generator().manual_seed(seed)
    mask = torch.randint(0, 9, (1, 1, 24, 24), generator=generator)
    restored = torch.rand(1, 3, 24, 24, generator=generator)
    relabelled = torch.tensor([0, *labels])[mask] * 1000
    with torch.no_grad():
        assert torch.allclose(spf(restored, mask.int()), spf(restored, relabelled.int()), atol=1e-5)


@pytest.mark.parametrize('fusion', FUSIONS)
def test_one_region_is_the_network_without_masks(fusion):
    spf = trained(SPF(small('NAFNet'), fusion=fusion))
    one = trained(SPF(small('NAFNet'), fusion=fusion, one_region=True))
    one.load_state_dict(spf.state_dict())
    restored, mask = patches()
    empty = torch.zeros_like(mask)
    for training in (False, True):
        one.train(training)
        assert torch.equal(one(restored, mask), one(restored, mask.flip(0)))
        assert torch.equal(one(restored, mask), spf(restored, empty))


def test_mask_dropout_merges_the_regions_of_whole_patches_in_training():
    restored, mask = patches(8)
    restored = restored[:1].expand_as(restored).contiguous()
    mask = mask[:1].expand_as(mask).contiguous()
    spf = trained(SPF(small('NAFNet'), mask_dropout=0.5))
    masked, merged = spf(restored, mask)[0], spf(restored, torch.zeros_like(mask))[0]
    torch.manual_seed(0)
    found = spf.train()(restored, mask)
    with_mask = [torch.allclose(image, masked, atol=1e-5) for image in found]
    without = [torch.allclose(image, merged, atol=1e-5) for image in found]
    assert 0 < sum(with_mask) < 8
    assert [not kept for kept in with_mask] == without
    spf.settings = replace(spf.settings, mask_dropout=0.0)
    state = torch.get_rng_state()
    assert torch.allclose(spf(restored, mask)[0], masked, atol=1e-5)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_degraded_image_is_enlarged_to_the_restored_one():
    spf = trained(SPF(small('DnCNN'), inputs=['restored', 'degraded']))
    restored, mask = patches()
    small_one = torch.nn.functional.interpolate(restored, scale_factor=0.5)
    assert spf(restored, mask, small_one).shape == restored.shape
    assert not torch.equal(spf(restored, mask, small_one), spf(restored, mask, restored))
    cascade = trained(SPF(small('DnCNN'), fusion='none', inputs=['restored', 'degraded']))
    assert torch.equal(cascade(restored, mask, small_one), cascade(restored, mask.flip(0), small_one))
    assert not torch.equal(cascade(restored, mask, small_one), cascade(restored, mask, restored))


@pytest.mark.parametrize('fusion', FUSIONS)
def test_the_context_follows_the_labels(fusion):
    spf = trained(SPF(small('NAFNet'), fusion=fusion, context='image'))
    restored, mask = patches()
    context = torch.rand(2, 9, 7)
    own = spf(restored, mask, context=context)
    assert not torch.allclose(own, spf(restored, mask, context=context.flip(1)), atol=1e-4)
    relabelled, moved = torch.where(mask > 0, 9 - mask, 0), context.clone()
    moved[:, 1:] = context[:, 1:].flip(1)
    assert torch.allclose(own, spf(restored, relabelled, context=moved), atol=1e-5)
    empty = torch.zeros_like(mask)
    spf.settings = replace(spf.settings, one_region=True)
    assert torch.equal(spf(restored, mask, context=context), spf(restored, empty, context=torch.zeros(2, 9, 7)))


def test_the_largest_regions_are_kept_and_the_rest_is_one():
    mask = torch.zeros(1, 1, 4, 8, dtype=torch.int32)
    mask[..., :4], mask[..., 4:6], mask[..., 6:] = 5, 3, 9
    mask[..., 0, 0] = 7
    partition = Partition(mask, 2, torch.float32)
    level = partition.at(1, (4, 8))
    assert level.sizes.flatten().tolist() == [9, 15, 8]
    assert level.means(torch.ones(1, 2, 32))[0].tolist() == [[1, 1]] * 3
    assert torch.equal(level.paint(torch.tensor([[[0.0], [1.0], [2.0]]])).view(1, 1, 4, 8).int(), partition.order.int())
    # At half size, a cell has the label of its central pixel; what is missing has that of the nearest one.
    half = partition.at(2, (3, 4))
    assert half.sizes.flatten().tolist() == [3, 6, 3]


@pytest.mark.parametrize('fusion', FUSIONS)
@pytest.mark.parametrize('dtype', HALF)
def test_statistics_are_computed_in_single_precision(fusion, dtype):
    spf = trained(SPF(small('NAFNet'), fusion=fusion))
    restored, mask = patches(1, 256, 256)[0], torch.ones(1, 1, 256, 256, dtype=torch.int32)
    expected = spf(restored, mask)
    with torch.autocast('cpu', dtype):
        found = spf(restored, mask)
    assert found.isfinite().all()
    assert (found - expected).abs().max() < (0.02 if dtype == torch.float16 else 0.15)


@pytest.mark.parametrize('fusion', REGION)
def test_gradcheck(fusion):
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Softplus(), Block(4), nn.Conv2d(4, 1, 3, padding=1))
    spf = trained(SPF(network, 1, fusion, detach=False, fusion_layers=None if fusion == 'map' else ['2'])).double()
    mask = torch.tensor([[[[1, 1, 0, 3], [1, 2, 2, 3]]]])
    restored = torch.rand(1, 1, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: spf(y, mask), (restored,))


def test_the_state_dict_holds_the_second_network_and_the_fusion_alone():
    network = small('RCAN')
    spf = SPF(network)
    names = [name for name in spf.state_dict() if not name.startswith('fuse.')]
    assert names == [f'network.{name}' for name in network.state_dict()]
    twin = SPF(small('RCAN'))
    twin.load_state_dict(spf.state_dict(), strict=True)
    restored, mask = patches()
    for copied in (copy.deepcopy(spf), pickle.loads(pickle.dumps(spf))):
        assert torch.equal(copied.eval()(restored, mask), spf.eval()(restored, mask))


def test_no_hook_outlives_a_call():
    spf = SPF(small('NAFNet'))
    restored, mask = patches()
    spf(restored, mask)
    with pytest.raises(RuntimeError):
        spf(restored.double(), mask)
    assert not any(module._forward_hooks for module in spf.modules())


def test_a_layer_that_training_leaves_out_is_refused():
    class Skips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.block, self.tail = nn.Conv2d(3, 8, 3, padding=1), Block(8), nn.Conv2d(8, 3, 3, padding=1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            features = self.head(image)
            return self.tail(features if self.training else self.block(features))

    spf = SPF(Skips())
    with pytest.raises(SAPDError, match=r'^fusion_layers: the network was run without block'):
        spf(*patches())


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)
        self.blocks = nn.ModuleList(Block(8) for _ in range(2))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.tail(checkpoint(self.blocks[1], self.blocks[0](self.head(image)), use_reentrant=True))


def test_layers_inside_of_checkpoints_are_refused():
    assert [site.name for site in SPF(Checkpointed()).fuse.sites] == ['blocks.0']

    class InTraining(Checkpointed):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return super().forward(image) if self.training else self.tail(self.blocks[1](self.head(image)))

    spf = SPF(InTraining())
    with pytest.raises(
        SAPDError, match=r'^fusion_layers: the network runs blocks.1 without gradients, perhaps in a check'
    ):
        spf(*patches())


def test_chosen_layers():
    spf = SPF(small('NAFNet'), fusion_layers=['decoders.1.0', 'middle_blks.0'])
    assert [(site.name, site.stride) for site in spf.fuse.sites] == [('decoders.1.0', 1), ('middle_blks.0', 4)]
    with pytest.raises(
        SAPDError, match=r"^fusion_layers: the network has no layer 'decoder.1.0'. Did you mean 'decoders"
    ):
        SPF(small('NAFNet'), fusion_layers=['decoder.1.0'])
    with pytest.raises(SAPDError, match=r"^fusion_layers: 'ending' cannot be used.*Layers that can be used: encoders"):
        SPF(small('NAFNet'), fusion_layers=['ending'])
    with pytest.raises(SAPDError, match=r"^fusion_layers: 'encoders.0.0.conv3' cannot be used"):  # times a gain of zero
        SPF(small('NAFNet'), fusion_layers=['encoders.0.0.conv3'])


MISTAKES = {
    'fusion': ({'fusion': 'modulated'}, r"^fusion: found 'modulated'.*Did you mean 'modulate'"),
    'fusion type': ({'fusion': 3}, r'^fusion: found 3, expected one'),
    'no fusion': ({'fusion': []}, r'^fusion: found \[\], expected one name or a list'),
    'twice': ({'fusion': ['map', 'map']}, r'^fusion: found .* a list of different ones'),
    'combined': ({'fusion': ['map', 'image']}, r"^fusion: 'image' cannot be combined"),
    'inputs': ({'inputs': ['restored', 'degrade']}, r"^inputs: found 'degrade'.*Did you mean 'degraded'"),
    'inputs alone': ({'inputs': ['degraded']}, r'^inputs: found .* expected \[restored\] or'),
    'inputs text': ({'inputs': 'restored'}, r"^inputs: found 'restored', expected a list"),
    'context': ({'context': 'photo'}, r"^context: found 'photo', expected one of patch, image"),
    'regions': ({'max_regions': 0}, r'^max_regions: found 0, expected an integer >= 1'),
    'dropout': ({'mask_dropout': 1.5}, r'^mask_dropout: found 1.5, expected a number in \[0, 1\]'),
    'dropout type': ({'mask_dropout': True}, r'^mask_dropout: found True, expected a number in \[0, 1\]'),
    'one region': ({'one_region': 1}, r'^one_region: found 1, expected true or false'),
    'layers': ({'fusion_layers': 'model.1'}, r"^fusion_layers: found 'model.1', expected a list"),
    'layers in a layer': ({'fusion_layers': [['model.1']]}, r"^fusion_layers: found \['model.1'\] in the list"),
    'layers unread': ({'fusion': 'map', 'fusion_layers': ['model.1']}, r'^fusion_layers: read by modulate and attend'),
    'planes': ({'planes': 4}, r'^planes: read by fusion: image alone, found with fusion: modulate'),
    'encoding': ({'encoding': 'none', 'fusion': ['map', 'attend']}, r'^encoding: .* found with fusion: map, attend'),
    'image inputs': ({'fusion': 'image', 'inputs': ['restored', 'degraded']}, r'^inputs: fusion: image reads'),
    'detach': ({'detach': 'yes'}, r"^detach: found 'yes', expected true or false"),
    'output index': ({'output_index': 'last'}, r"^output_index: found 'last', expected an integer"),
    'output index, number': ({'output_index': 0.0}, r'^output_index: found 0.0, expected an integer'),
    'context unread': ({'fusion': 'none', 'context': 'image'}, r'^context: image is not read by fusion: none'),
}


@pytest.mark.parametrize('name', MISTAKES)
def test_mistakes_are_named(name):
    changes, message = MISTAKES[name]
    with pytest.raises(SAPDError, match=message):
        SPF(small('DnCNN'), **changes)


def test_networks_that_cannot_be_used_are_named():
    with pytest.raises(SAPDError, match=r'^fusion: no convolution of the second network sees the image'):
        SPF(nn.Identity())
    with pytest.raises(SAPDError, match=r'^fusion: found no layer .* fusion_layers'):
        SPF(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)))
    with pytest.raises(SAPDError, match=r'^network: does not take a restored image of \(1, 3, 64, 64\)'):
        SPF(nn.Conv2d(1, 8, 3))
    SPF(nn.Identity(), fusion='none')


def test_inputs_that_are_missing_are_named():
    restored, mask = patches()
    with pytest.raises(SAPDError, match=r'^inputs: needs the degraded image, expected one of \(2,3,h,w\), found None'):
        SPF(small('DnCNN'), inputs=['restored', 'degraded'])(restored, mask)
    with pytest.raises(SAPDError, match=r'^context: image needs statistics .* found \(2, 9, 6\)'):
        SPF(small('DnCNN'), context='image')(restored, mask, context=torch.rand(2, 9, 6))


def test_several_outputs_and_the_trial_of_the_branch():
    settings = {'inputs': ['restored', 'degraded'], 'context': 'image'}
    branch = build_branch('network_spf', lambda block: SPF(ScalesNet(), **settings), {}, image_channels=3)
    assert isinstance(branch, SPF)
    assert branch.needs_degraded
    assert branch.needs_context
    restored, mask = patches()
    branch(restored, mask, restored, torch.rand(2, 9, 7)).mean().backward()
    assert all(parameter.grad is not None for parameter in branch.parameters())
