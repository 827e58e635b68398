"""Kinds of text: two spellings of the same spoken words become equal, no spoken word is lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import UsageError
from asr.text import NORMALIZERS, normalize, normalizer_id, normalizer_name
from asr.text.english_spelling import american

ENGLISH = [
    ("$20 million", "twenty million dollars"), ("$20m", "twenty million dollars"),
    ("€3.5bn", "three point five billion euros"), ("$200k", "two hundred thousand dollars"),
    ("20 €", "twenty euros"), ("$2.70", "two dollars and seventy cents"),
    ("$0.36", "thirty six cents"), ("£1.01", "one pound and one penny"), ("$.50", "50 cents"),
    ("-$5", "minus five dollars"), ("$-5", "minus five dollars"), ("¢3", "three cents"),
    ("3¢", "three cents"), ("10km", "ten kilometers"), ("10 km", "ten kilometres"),
    ("1 km", "one kilometer"), ("10-km race", "ten kilometer race"),
    ("3.5kg", "three point five kilograms"), ("5g", "five g"), ("500g", "five hundred grams"),
    ("10 in London", "ten in london"), ("10-20km", "ten twenty kilometers"),
    ("60mph", "sixty miles per hour"), ("50 m²", "fifty square meters"),
    ("20°C", "twenty degrees celsius"), ("20 ℃", "twenty degrees celsius"),
    ("5 %", "five per cent"), ("5%", "five percent"), ("-500", "minus five hundred"),
    ("5 \u2212 3", "five minus three"), ("+500", "plus five hundred"), ("well-500", "well 500"),
    ("1/2", "one half"), ("½", "one half"), ("2½ km", "two and a half kilometers"),
    ("3/4", "three quarters"), ("9/11", "nine eleven"), ("24/7", "twenty four seven"),
    ("3/14/2020", "three fourteen twenty twenty"), ("#1", "number one"),
    ("v2.0", "v two point zero"), ("3.5abc", "three point five abc"), (".5", "point five"),
    ("5:30 p.m.", "five thirty pm"), ("10:05", "ten oh five"), ("5:00", "five o'clock"),
    ("5'10\"", "five ten"), ("a@b", "a at b"), ("3×4", "three times four"),
    ("Jr.", "junior"), ("she's been", "she has been"), ("she's never been", "she has never been"),
    ("she's here", "she is here"), ("Tom's been", "tom has been"), ("I'd better", "i had better"),
    ("I'd been", "i had been"), ("I'd wanted", "i had wanted"), ("I'd need", "i would need"),
    ("I'd go", "i would go"), ("ain't", "ain't"), ("shoulda", "should have"),
    ("U.S.", "u s"), ("the US and us", "the u s and us"), ("U.S.A.", "USA"),
    ("U.S.-based", "US based"), ("the U.K.'s", "the UK's"), ("TV", "t v"),
    ("J.K. Rowling", "J. K. Rowling"), ("Ph.D.", "PhD"),
    ("Mr. Mrs. Dr. Prof.", "mister missus doctor professor"), ("Dr.'s", "doctor's"),
    ("St. John", "Saint John"), ("st louis", "saint louis"), ("St Patrick's", "saint patrick's"),
    ("on Main St.", "on main street"), ("on main st in", "on main street in"),
    ("12 Main St. Springfield", "twelve main street springfield"),
    ("12 elm st springfield", "twelve elm street springfield"), ("12 Elm Dr.", "twelve elm drive"),
    ("In St. Louis", "in saint louis"), ("Gen. Lee", "general lee"), ("Sgt. Po", "sergeant po"),
    ("Rep. Lee, a sales rep. Then", "representative lee a sales rep then"), ("etc.", "et cetera"),
    ("No. 5", "#5"), ("no. 5", "number five"), ("No. Five", "no five"), ("e.g.", "eg"),
    ("10k", "ten k"), ("10 k", "ten k"), ("3x", "three x"), ("007x", "0 0 7 x"),
    ("$20-30 million", "twenty thirty million dollars"), ("$5\u2013$10", "five ten dollars"),
    ("EUR 20", "twenty euros"), ("20 EUR", "twenty euros"), ("\u00b15", "plus or minus five"),
    ("10 kms", "ten kilometers"), ("3/4", "three fourths"), ("e-mail", "email"),
    ("I'd've", "i would have"), ("what's happened", "what has happened"),
    ("approx. 5", "approximately five"), ("one hundred and first", "101st"),
    ("b747", "b 7 4 7"), ("yes…no", "yes no"), ("one→two", "one two"),
]
GERMAN = [
    ("3,5kg", "drei komma fünf kilogramm"), ("10km", "zehn kilometer"), ("1 h", "eine stunde"),
    ("20 Mio. Euro", "zwanzig millionen euro"), ("1 Mio.", "eine million"),
    ("20 Tsd. Euro", "zwanzigtausend euro"), ("$20", "zwanzig dollar"), ("€20", "zwanzig euro"),
    ("20 €", "zwanzig euro"), ("2,70 €", "zwei euro siebzig"), ("0,50 €", "fünfzig cent"),
    ("1 €", "ein euro"), ("1 Euro", "ein euro"), ("-5", "minus fünf"), ("20 °C", "zwanzig grad "
     "celsius"), ("½", "ein halb"), ("1½", "eineinhalb"), ("2½ kg", "zweieinhalb kilogramm"),
    ("3/4", "drei viertel"), ("#1", "nummer eins"), ("10:30 Uhr", "zehn uhr dreißig"),
    ("50 km/h", "fünfzig kilometer pro stunde"), ("3,5abc", "drei komma fünf abc"),
    ("Dr Abt", "Dr. Abt"), ("Hr. Beck", "Herr Beck"), ("Fr. Conz am Fr.", "frau conz am fr"),
    ("St. Pauli", "Sankt Pauli"), ("Hauptstr. 3", "hauptstraße drei"), ("z.B.", "zB"),
    ("z. B.", "zum Beispiel"), ("usw", "und so weiter"), ("U.S.A.", "USA"), ("LKW", "l k w"),
    ("ggf. evtl.", "gegebenenfalls eventuell"), ("Nr 7", "Nr. 7"), ("5 min.", "fünf Minuten"),
    ("EUR 20", "zwanzig Euro"), ("3 Std.", "drei Stunden"), ("50 ct", "fünfzig Cent"),
    ("2x", "zweimal"), ("5-mal", "fünfmal"), ("90er", "Neunziger"),
    ("1990er", "neunzehnhundertneunziger"),
    ("10%ig", "zehnprozentig"), ("10-jährige", "zehnjährige"), ("1-jährig", "einjährig"),
    ("100", "hundert"), ("100", "einhundert"), ("1.000 m", "tausend Meter"),
    ("±5", "plus minus fünf"), ("Hunderte", "hunderte"),
    ("1,5 Mrd. €", "eins komma fünf milliarden euro"), ("5 %", "fünf prozent"),
]


@pytest.mark.parametrize("one, other", ENGLISH)
def test_english_spellings_of_the_same_words(one, other):
    assert normalize(one, "english") == normalize(other, "english")


@pytest.mark.parametrize("one, other", GERMAN)
def test_german_spellings_of_the_same_words(one, other):
    assert normalize(one, "german") == normalize(other, "german")


@pytest.mark.parametrize("one, other", [
    ("she's been", "she is been"), ("she's here", "she has here"), ("I'd better", "i would better"),
    ("10 km", "ten miles"), ("-5", "5"), ("5°", "5"), ("1/2", "one two"), ("towards", "toward"),
    ("whilst", "while"), ("3.5kg", "thirty five kilograms"),
    ("analyses", "analyzes"), ("thank us", "thank u s"), ("a rep", "a representative"),
    ("a gen", "a general"), ("no five", "number five"), ("ms", "mrs"),
])
def test_different_words_stay_different(one, other):
    assert normalize(one, "english") != normalize(other, "english")


FAMILIES = [pair.split(":") for pair in (
    "grey:gray greys:grays greying:graying plough:plow ploughing:plowing snowploughs:snowplows "
    "organise:organize organisational:organizational customise:customize customisable:customizable "
    "dialogue:dialog yoghurt:yogurt yoghourts:yogurts manoeuvring:maneuvering "
    "theatregoer:theatergoer centred:centered anaesthetise:anesthetize paediatrician:pediatrician "
    "gynaecology:gynecology haemorrhage:hemorrhage leukaemia:leukemia diarrhoea:diarrhea "
    "watercolours:watercolors tranquillity:tranquility woollen:woolen panellist:panelist "
    "counsellor:counselor enrolment:enrollment skilful:skillful kilogrammes:kilograms "
    "breathalyser:breathalyzer crystallise:crystallize aesthetic:esthetic moustached:mustached "
    "cosiness:coziness chequered:checkered focussed:focused reconnoitring:reconnoitering "
    "artefact:artifact").split()]
KEEP = ("promise compromise exercise surprise wise rise arise noise raise advise revise devise "
        "supervise improvise televise promised exercising advertise expertise franchise treatise "
        "premise demise disguise denise penises irises four hours flour contour pour glamorous "
        "equally totally initially called filled rolling controlled acre genre ogre massacre "
        "mediocre greyhound cosine discuss discover programmer programmed analysis").split()


@pytest.mark.parametrize("british, us", FAMILIES)
def test_families_of_spelling(british, us):
    assert american(british) == american(us) == us


@pytest.mark.parametrize("word", KEEP)
def test_other_words_keep_their_spelling(word):
    assert american(word) == word


PIECES = st.sampled_from(
    "$ € £ ¢ % + - \u2212 # ° ½ ¼ / : . , ' "
    "@ & = × ² 1 2 20 500 3.5 3,5 1,000 1.000 10:30 1/2 km kg "
    "g m°c m² in mio. mrd. million bn k uhr p.m. am pm th st s per cent and a half oh one five "
    "hundred thousand she's been i'd better she'd gone won't've cannot ain't jr. mr ok imma gonna "
    "woulda grey ploughing organisational analyses colourise storeys cheque o'clock "
    "± eur 90er 10-jährig 2x 10k %ig std ct e-mail i'd've hundert tausend "
    "U.S. US usa's st St. Main Gen. Rep. no. No. Ph.D. phd etc. z.B. zb Hr. str. Dr dr. tv e.g. "
    "[laughter] <unk> (noise) ( ) [ ] < >".split(" "))


@pytest.mark.parametrize("name", [*NORMALIZERS, "basic+drop", "english+drop",
                                  "basic+mixed", "german+mixed", "english+drop+mixed"])
@settings(max_examples=400, deadline=None)
@given(pieces=st.lists(st.tuples(PIECES, st.sampled_from(["", " "])), max_size=10))
def test_kinds_are_idempotent(name, pieces):
    text = "".join(piece + gap for piece, gap in pieces)
    once = normalize(text, name)
    assert normalize(once, name) == once


@pytest.mark.parametrize("name", ["basic", "english", "german"])
@settings(max_examples=200, deadline=None)
@given(symbols=st.text("→…|~^*_;!?\"()[]{}<>\u2014\u2022\u00a7\u20bf\u2603 ", min_size=1,
                       max_size=4))
def test_unknown_symbols_separate_words(name, symbols):
    words = normalize(f"red{symbols}bus", name).split()
    assert words[0] == "red" and words[-1] == "bus"


@pytest.mark.parametrize("text, words, drop", [
    ("yes [laughter] no", "yes laughter no", "yes no"),
    ("yes (noise) no", "yes noise no", "yes no"),
    ("<unk> yes", "unk yes", "yes"), ("a [background noise] b", "a background noise b", "a b"),
    ("[laughter][noise] a", "laughter noise a", "a"), ("word(s) (or two words)",
                                                      "word s or two words", "word s or two words"),
    ("3 < 4 > 2", "3 4 2", "3 4 2"), ("a <= b => c", "a b c", "a b c"), ("(noise).", "noise", ""),
    ("[]", "", ""), ("a [b", "a b", "a b")])
def test_one_option_says_whether_non_speech_is_a_word(text, words, drop):
    assert normalize(text, "basic") == words
    assert normalize(text, normalizer_name("basic", "drop")) == drop
    assert normalizer_name("basic", "words") == "basic"


@pytest.mark.parametrize("text, name, expected", [
    ("我们用 Python 3。", "basic+mixed", "我 们 用 python 3"),
    ("café ab-c", "case+mixed", "caf é ab-c"),
    ("plain text", "none+mixed", "plain text"), ("[笑] 我 <unk>", "basic+drop+mixed", "我"),
    ("使用 $5", "english+mixed", "使 用 five dollars"), ("It's  4 é", "none+characters",
                                                       "I t ' s 4 é"),
    ("你 [x] ab", "case+drop+characters", "你 a b"), ("", "basic+characters", "")])
def test_characters_are_words(text, name, expected):
    assert normalize(text, name) == expected
    base, _, units = name.rpartition("+")
    assert normalizer_name(base, units=units) == normalizer_name(name, units=units) == name
    assert normalizer_name(name) == name
    assert normalizer_id(name).startswith(name + "-") and normalizer_id(name) != normalizer_id(base)


def test_dropped_non_speech_is_part_of_the_identity():
    assert normalizer_id("basic+drop").startswith("basic+drop-")
    assert normalizer_id("basic+drop") != normalizer_id("basic")
    with pytest.raises(UsageError, match="expected one of none"):
        normalize("a", "basc+drop")
