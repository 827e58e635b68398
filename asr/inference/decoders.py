"""The decoder of a bundle, with its language model and calibration.

In: a bundle, settings. Out: a `Decoder`.
"""

from __future__ import annotations

from asr.bundle import Bundle
from asr.bundle.config import LM
from asr.decoding import Decoder, build_decoder
from asr.decoding.calibration import calibration_kind, uses_lm
from asr.decoding.evidence import CalibratedDecoder
from asr.decoding.phrases import normalize_hot_words
from asr.errors import BundleError, DataError, UsageError
from asr.language_model import LanguageModel, load_ngram
from asr.language_model.packed_ngram import unpack_lm
from asr.recipe import DecoderSettings


def own_decoder(bundle: Bundle) -> Decoder:
    """The decoder that a bundle's settings name.

    Raises:
        BundleError: it cannot be built: what is wrong with it is wrong with the bundle.
    """
    try:
        return decoder_of(bundle, bundle.decoder)
    except (DataError, UsageError) as error:
        raise BundleError(f"{bundle.path}: its decoder cannot be built: {error}",
                          code="bundle.decoder", path=bundle.path) from error


def decoder_of(bundle: Bundle, settings: DecoderSettings) -> Decoder:
    """A decoder for a bundle's labels, with its language model, normaliser and calibration.

    Raises:
        DataError, UsageError: it cannot be built.
    """
    model = language_model_of(bundle, settings) if uses_lm(settings) else None
    settings = normalize_hot_words(settings, bundle.text.normalizer)
    decoder = build_decoder(settings, bundle.tokenizer, language_model=model)
    calibration = bundle.calibration.get(calibration_kind(settings))
    return CalibratedDecoder(decoder, calibration) if calibration else decoder


def language_model_of(bundle: Bundle, settings: DecoderSettings) -> LanguageModel | None:
    """The model that settings name: the bundle's own one or a file; None: they name none.

    Raises:
        DataError: it cannot be read.
        UsageError: it was trained on texts of another normaliser.
    """
    if not settings.lm:
        return None
    if settings.lm == LM and bundle.lm is not None:
        model: LanguageModel = unpack_lm(bundle.lm, f"{bundle.path}: {LM}")
    else:
        model = load_ngram(settings.lm)
    model.check_normalizer(bundle.text.normalizer)
    return model
