"""British spellings in their American form: families by rule, and a table for the rest.

In: one lower-case word. Out: the same spoken word as an American writes it. A rule covers a whole
family (plough, ploughs, ploughing, snowplough), because a table of single words always has gaps.
Words that sound different stay apart (aeroplane and airplane), and so do spellings that may be
two words ("analyses" is a noun, too).
"""

from __future__ import annotations

import re
from functools import lru_cache

# -ise: the ends of the stems of the living suffix, and stems that have no such end. What has
# such an end by chance ("promise") is excepted; "arise" and "noise" never match.
_ISE_ENDS = ("al|an|ar|at|el|en|er|et|gn|ic|id|il|im|in|ir|it|iv|mn|nd|od|og|ol|om|on|or|"
             "ot|ph|pt|"  # codespell:ignore ot
             "rd|rg|rn|th|un|ur|ut|yt")
_ISE_STEMS = ("amort crystall emphas exorc fantas ghetto hypothes item ostrac parenthes "
              "photosynthes synthes tranquil tyrann").split()
_NOT_ISE = ("acropol cer clitor comprom compromis den merchand metropol necropol pen prom treat "
            "val").split()
_ISE_SUFFIXES = ("e|ed|edly|es|er|ers|ing|ingly|ation|ations|ational|ationally|able|ably|ability|"
                 "ement|ements|ance|ances")

_OUR = ("arb ard arm behavi cand clam clang col demean enam endeav fav ferv flav glam harb hon "
        "hum lab misdemean neighb od parl ranc rig rum sav savi splend succ tum val vap "
        "vig").split()
_DOUBLED_L = ("apparel backpedal barrel bedevil bejewel bevel cancel carol cavil channel chisel "
              "council counsel cruel cudgel devil dial disembowel dishevel drivel duel empanel "
              "enamel equal fuel funnel gambol gravel grovel gruel impanel imperil initial jewel "
              "journal kennel label laurel level libel marshal marvel medal metal model monogram "
              "outrival panel parcel pedal pencil pummel quarrel ravel refuel remodel revel rival "
              "shovel shrivel signal snivel snorkel spiral squirrel stencil swivel symbol tassel "
              "teasel total towel trammel travel trial tunnel unequal unravel unrival untrammel "
              "victual weasel wool yodel yokel").split()
_RE = ("calib cent fib goit lit louv lust meag met mit och reconnoit sab saltpet scept "
       "sepulch somb spect theat tit").split()

_RULES = tuple((re.compile(pattern), replacement) for pattern, replacement in (
    (rf"\b((?:be|dis|mis|un|re|multi|tri|water|techni|self)?(?:{'|'.join(_OUR)}))our(?!t)",
     r"\1or"),
    (r"\b(glam|clam|vap|hum|rig|vig|hon|lab|od)oros(?=e|i)", r"\1oros"),
    # Greek and Latin vowels
    (r"\b(an)?aesth", lambda m: (m[1] or "") + "esth"), (r"aemi(?=a|c|as\b)", "emi"),
    (r"\bhaem", "hem"), (r"(?<=p)aed(?=iatr|o(?!log)|erast|ic\b|ics\b)", "ed"),
    (r"paedi(?=as?\b|c)", "pedi"), (r"archae", "arche"), (r"palaeo", "paleo"),
    (r"\baetiolog", "etiolog"), (r"\bfaec", "fec"), (r"gynaec", "gynec"),
    (r"\bcaes(?=arean|ium)", "ces"), (r"\b(medi|prim)aeval", r"\1eval"), (r"\baeon", "eon"),
    (r"\bpraesid", "presid"), (r"\bchimaer", "chimer"), (r"villaea(s?)\b", r"villea\1"),
    (r"\boe(?=strogen|sophag|dema)", "e"), (r"\bedoema", "edema"), (r"\bfoet(?=us|al|id)", "fet"),
    (r"homoeo(?=path|sta)", "homeo"), (r"rrhoea", "rrhea"), (r"copoeia", "copeia"),
    (r"\bcoeliac", "celiac"), (r"man(?:oeu|eu)vr(?:e(?=s?\b|d\b|r)|(?=ing|ab))", "maneuver"),
    (r"maneuverd\b", "maneuvered"), (r"maneuverr", "maneuverer"),
    # -re
    (r"\baccoutre", "accouter"),
    (rf"\b((?:kilo|centi|deci|milli|micro|nano|amphi|epi|lack)?(?:{'|'.join(_RE)}))re(s|ments?)?\b",
     r"\1er\2"),
    (rf"\b((?:{'|'.join(_RE)}))(?:re(d)|r(ing))\b", r"\1er\2\3"), (r"terd\b", "tered"),
    (r"\b(louv|somb|sab|lust)erd\b", r"\1ered"),
    (r"\b(cent|theat|fib)re(?=fold|piece|goer|going|glass|board|back|ward|line|d\b)", r"\1er"),
    # doubled and single l, and other doubled letters
    (rf"\b({'|'.join(_DOUBLED_L)})l"
     r"(e[dnr]|ers?|est|ing|ings|ingly|ors?|orship|ous|ously|i(?:st)s?)\b", r"\1\2"),
    (r"\bwooll(?=y\b|ies|iness)", "wool"),
    (r"\b(tranquil)l(?=i[sz]|ity)", r"\1"), (r"\b(jewel)lery\b", r"\1ry"),
    (r"\b(fulfi|enro|disti|insti|insta|appa|enthra)l(s|ments?)?\b", r"\1ll\2"),
    (r"\b(ski|wi)lful(ly|ness)?\b", r"\1llful\2"), (r"\b(ca)ll(ipers?|isthenics?)\b", r"\1l\2"),
    (r"\b(benefit|bias|focus|refocus|worship)(?:[tsp])(e[drs]|ers|ing)\b", r"\1\2"),
    (r"\b(mini)?(?:bus)s(es|ing|ed)\b", r"\1bus\2"), (r"\bgasses\b", "gases"),
    (r"\bclarinettist", "clarinetist"), (r"\bwaggon", "wagon"), (r"\bchilli(s|es)?\b", r"chili\1"),
    (r"\b(omel|epaul)ette(s?)\b", r"\1et\2"), (r"\bcancelation", "cancellation"),
    # -ise, -yse, -ence, -ogue, -mme, -xion
    (rf"\b(?!(?:{'|'.join(_NOT_ISE)})is)(\w+(?:{_ISE_ENDS})|(?:re|de|over|un)?"
     rf"(?:{'|'.join(_ISE_STEMS)}))is({_ISE_SUFFIXES})\b", r"\1iz\2"),
    (r"\b(aggrand)is", r"\1iz"),
    (r"\b((?:psycho)?anal|paral|catal|breathal|electrol|hydrol)ys(ed?|ers?|ing)\b", r"\1yz\2"),
    (r"\bbreathalyses\b", "breathalyzes"), (r"\bwoollens\b", "woolens"),
    (r"\b(def|off|lic|pret)ence(s|d|less)?\b", r"\1ense\2"), (r"\blicencing\b", "licensing"),
    (r"\bpractis(e[sd]?|ing)\b", r"practic\1"),
    (r"\b(ana|cata|dia|epi|mono|pro|trave|homo)logu(?:e(?=[sd]?\b)|(?=ing\b))", r"\1log"),
    (r"\b(ana|cata|dia)logd\b", r"\1loged"),
    (r"\b((?:kilo|centi|milli|deci)?gram|aerogram|program)me(s?)\b", r"\1\2"),
    (r"\b(conne|infle|refle)xion", r"\1ction"),
    # single families
    (r"\bgrey(?!hound)", "gray"), (r"\b(snow)?plough", lambda m: (m[1] or "") + "plow"),
    (r"\bcheque(?=s?\b|book|red|rs?\b)", "check"), (r"\bcheckr(?=ed|s)", "checker"),
    (r"\bdraught", "draft"), (r"\bcos(?=y\b|ies|ier|iest|ily|iness)", "coz"),
    (r"\bmoustach", "mustach"), (r"\bpyjama", "pajama"), (r"\byogh?o?urt", "yogurt"),
    (r"\b(re|s)?moul(?=[dt])", lambda m: (m[1] or "") + "mol"), (r"\bsceptic", "skeptic"),
    (r"\bsulph", "sulf"), (r"\bmarvellous", "marvelous"), (r"\bsyphon", "siphon"),
    (r"\bcypher", "cipher"), (r"\bgaol", "jail"), (r"\bgips(?=y\b|ies\b)", "gyps"),
    (r"\bbaulk", "balk"), (r"\bgag(?=e[ds]?\b|ing\b)", "gaug"), (r"\btyre(?=s?\b)", "tire"),
    (r"\bdisc(?=s?\b)", "disk"), (r"\bvideodisc", "videodisk"), (r"\btonne(s?)\b", r"ton\1"),
    (r"\bbannister", "banister"), (r"\bgryphon", "griffin"), (r"\bartefact", "artifact"),
    (r"\b(ac(?:know)led|jud)gement", r"\1gment"), (r"\bkerb", "curb"),
    (r"\bstorey\b", "story"),
    (r"\bstoreys\b", "stories"),
))
_WORDS: dict[str, str] = dict((pair.split(":")[0], pair.split(":")[1]) for pair in (
    "ageing:aging almanack:almanac almanacks:almanacs aluminium:aluminum axe:ax "
    "battleaxe:battleax bingeing:binging glueing:gluing likeable:likable saleable:salable "
    "cognisant:cognizant doughnut:donut doughnuts:donuts phoney:phony pouffe:pouf pouffes:poufs "
    "sheikh:sheik sheikhs:sheiks learnt:learned burnt:burned dreamt:dreamed "
    "spelt:spelled misspelt:misspelled spoilt:spoiled leant:leaned "
).split())


@lru_cache(maxsize=100_000)
def american(word: str) -> str:
    """A word in American spelling; a word that has no other spelling stays.

    Example:
        >>> american("organisational"), american("ploughing"), american("promise")
        ('organizational', 'plowing', 'promise')
    """
    for _ in range(8):  # a rule may feed an earlier one; two rounds suffice in practice
        before = word
        for pattern, replacement in _RULES:
            word = pattern.sub(replacement, word)
        word = _WORDS.get(word, word)
        if word == before:
            break
    return word
