"""The published networks, each a function with its fidelity card; `CARDS` has them by name."""

from __future__ import annotations

from perimetry.networks.alexnet import ALEXNET, alexnet
from perimetry.networks.all_cnn import ALL_CNN_C, all_cnn_c
from perimetry.networks.anchors import AnchorGrid
from perimetry.networks.backbones import Backbone, backbone
from perimetry.networks.batch_norms import fix_batch_norms
from perimetry.networks.cards import Card, Difference, Quantity, Result
from perimetry.networks.classifier import AuxiliaryHead, Classifier, classification_losses
from perimetry.networks.deeplab import DEEPLAB_LARGEFOV, deeplab_largefov
from perimetry.networks.detections import DetectionRule
from perimetry.networks.detector import GivenProposalsDetector, ProposingDetector, RegionRule
from perimetry.networks.dilation import dilate
from perimetry.networks.fast_rcnn import FAST_RCNN, ONLINE_HARD_EXAMPLES, fast_rcnn
from perimetry.networks.faster_rcnn import FASTER_RCNN, faster_rcnn
from perimetry.networks.fcn import FCN8S, FCN16S, FCN32S, FCN_ALEXNET, fcn8s, fcn16s, fcn32s, fcn_alexnet
from perimetry.networks.feature_pyramid import FeaturePyramid, feature_pyramid
from perimetry.networks.fpn_cards import FAST_RCNN_FPN, FASTER_RCNN_FPN, R_FCN_FPN
from perimetry.networks.fpn_detectors import fast_rcnn_fpn, faster_rcnn_fpn, pyramid_anchors, r_fcn_fpn
from perimetry.networks.freezing import freeze
from perimetry.networks.googlenet import GOOGLENET, googlenet
from perimetry.networks.inception_v2 import INCEPTION_V2, inception_v2
from perimetry.networks.inception_v3 import INCEPTION_V3, inception_v3
from perimetry.networks.mining import false_positives
from perimetry.networks.parsenet import PARSENET, parsenet
from perimetry.networks.proposals import selective_search
from perimetry.networks.r_fcn import R_FCN, R_FCN_HARD_EXAMPLES, R_FCN_HARD_PROPOSALS, r_fcn
from perimetry.networks.region_proposals import ProposalRule
from perimetry.networks.resnet import (
    RESNETS,
    resnet50,
    resnet50_v1_5,
    resnet101,
    resnet101_v1_5,
    resnet152,
    resnet152_v1_5,
)
from perimetry.networks.sampling import AnchorSampling, RegionSampling
from perimetry.networks.segmentation_losses import segmentation_losses
from perimetry.networks.segmenter import Segmenter, copy_weights
from perimetry.networks.spp_detector import SPP_DETECTOR, SPPDetector, spp_detector
from perimetry.networks.spp_fitting import fit_box_regressors, fit_svms
from perimetry.networks.spp_net import SPP_NET, SPPClassifier, spp_classifier, spp_net
from perimetry.networks.torchvision_detectors import torchvision_anchors, torchvision_weights
from perimetry.networks.truncated_svd import truncate_svd
from perimetry.networks.vgg import VGG16, VGG19, vgg16, vgg19
from perimetry.networks.weights import translate_weights

_ALL = (
    *(ALEXNET, VGG16, VGG19, GOOGLENET, INCEPTION_V2, INCEPTION_V3, *RESNETS, ALL_CNN_C, SPP_NET),
    *(FCN32S, FCN16S, FCN8S, FCN_ALEXNET, DEEPLAB_LARGEFOV, PARSENET),
    *(SPP_DETECTOR, FAST_RCNN, FASTER_RCNN, R_FCN, FAST_RCNN_FPN, FASTER_RCNN_FPN, R_FCN_FPN),
)
CARDS: dict[str, Card] = {card.name: card for card in _ALL}

__all__ = [
    "CARDS",
    "ONLINE_HARD_EXAMPLES",
    "R_FCN_HARD_EXAMPLES",
    "R_FCN_HARD_PROPOSALS",
    "AnchorGrid",
    "AnchorSampling",
    "AuxiliaryHead",
    "Backbone",
    "Card",
    "Classifier",
    "DetectionRule",
    "Difference",
    "FeaturePyramid",
    "GivenProposalsDetector",
    "ProposalRule",
    "ProposingDetector",
    "Quantity",
    "RegionRule",
    "RegionSampling",
    "Result",
    "SPPClassifier",
    "SPPDetector",
    "Segmenter",
    "alexnet",
    "all_cnn_c",
    "backbone",
    "classification_losses",
    "copy_weights",
    "deeplab_largefov",
    "dilate",
    "false_positives",
    "fast_rcnn",
    "fast_rcnn_fpn",
    "faster_rcnn",
    "faster_rcnn_fpn",
    "fcn8s",
    "fcn16s",
    "fcn32s",
    "fcn_alexnet",
    "feature_pyramid",
    "fit_box_regressors",
    "fit_svms",
    "fix_batch_norms",
    "freeze",
    "googlenet",
    "inception_v2",
    "inception_v3",
    "parsenet",
    "pyramid_anchors",
    "r_fcn",
    "r_fcn_fpn",
    "resnet50",
    "resnet50_v1_5",
    "resnet101",
    "resnet101_v1_5",
    "resnet152",
    "resnet152_v1_5",
    "segmentation_losses",
    "selective_search",
    "spp_classifier",
    "spp_detector",
    "spp_net",
    "torchvision_anchors",
    "torchvision_weights",
    "translate_weights",
    "truncate_svd",
    "vgg16",
    "vgg19",
]
