"""Countries of ISO 3166-1: codes, English names with common other names, and one place in each.

The door resolves what people write to alpha-2; the simulation puts homes and merchants near the places. No I/O.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

# alpha-2, alpha-3, latitude and longitude of a main city in degrees, English name. Codes and names: ISO 3166-1 with
# the user-assigned XK; places: the public-domain tz database, zone.tab.
_TABLE = """
AD AND 42.50 1.52 Andorra
AE ARE 25.30 55.30 United Arab Emirates
AF AFG 34.52 69.20 Afghanistan
AG ATG 17.05 -61.80 Antigua and Barbuda
AI AIA 18.20 -63.07 Anguilla
AL ALB 41.33 19.83 Albania
AM ARM 40.18 44.50 Armenia
AO AGO -8.80 13.23 Angola
AQ ATA -77.83 166.60 Antarctica
AR ARG -34.60 -58.45 Argentina
AS ASM -14.27 -170.70 American Samoa
AT AUT 48.22 16.33 Austria
AU AUS -33.87 151.22 Australia
AW ABW 12.50 -69.97 Aruba
AX ALA 60.10 19.95 Aland Islands
AZ AZE 40.38 49.85 Azerbaijan
BA BIH 43.87 18.42 Bosnia and Herzegovina
BB BRB 13.10 -59.62 Barbados
BD BGD 23.72 90.42 Bangladesh
BE BEL 50.83 4.33 Belgium
BF BFA 12.37 -1.52 Burkina Faso
BG BGR 42.68 23.32 Bulgaria
BH BHR 26.38 50.58 Bahrain
BI BDI -3.38 29.37 Burundi
BJ BEN 6.48 2.62 Benin
BL BLM 17.88 -62.85 Saint Barthelemy
BM BMU 32.28 -64.77 Bermuda
BN BRN 4.93 114.92 Brunei
BO BOL -16.50 -68.15 Bolivia
BQ BES 12.15 -68.28 Caribbean Netherlands
BR BRA -23.53 -46.62 Brazil
BS BHS 25.08 -77.35 Bahamas
BT BTN 27.47 89.65 Bhutan
BV BVT -54.42 3.38 Bouvet Island
BW BWA -24.65 25.92 Botswana
BY BLR 53.90 27.57 Belarus
BZ BLZ 17.50 -88.20 Belize
CA CAN 43.65 -79.38 Canada
CC CCK -12.17 96.92 Cocos (Keeling) Islands
CD COD -4.30 15.30 DR Congo
CF CAF 4.37 18.58 Central African Rep.
CG COG -4.27 15.28 Congo
CH CHE 47.38 8.53 Switzerland
CI CIV 5.32 -4.03 Cote d'Ivoire
CK COK -21.23 -159.77 Cook Islands
CL CHL -33.45 -70.67 Chile
CM CMR 4.05 9.70 Cameroon
CN CHN 31.23 121.47 China
CO COL 4.60 -74.08 Colombia
CR CRI 9.93 -84.08 Costa Rica
CU CUB 23.13 -82.37 Cuba
CV CPV 14.92 -23.52 Cape Verde
CW CUW 12.18 -69.00 Curacao
CX CXR -10.42 105.72 Christmas Island
CY CYP 35.17 33.37 Cyprus
CZ CZE 50.08 14.43 Czechia
DE DEU 52.50 13.37 Germany
DJ DJI 11.60 43.15 Djibouti
DK DNK 55.67 12.58 Denmark
DM DMA 15.30 -61.40 Dominica
DO DOM 18.47 -69.90 Dominican Republic
DZ DZA 36.78 3.05 Algeria
EC ECU -2.17 -79.83 Ecuador
EE EST 59.42 24.75 Estonia
EG EGY 30.05 31.25 Egypt
EH ESH 27.15 -13.20 Western Sahara
ER ERI 15.33 38.88 Eritrea
ES ESP 40.40 -3.68 Spain
ET ETH 9.03 38.70 Ethiopia
FI FIN 60.17 24.97 Finland
FJ FJI -18.13 178.42 Fiji
FK FLK -51.70 -57.85 Falkland Islands
FM FSM 6.97 158.22 Micronesia
FO FRO 62.02 -6.77 Faroe Islands
FR FRA 48.87 2.33 France
GA GAB 0.38 9.45 Gabon
GB GBR 51.51 -0.13 United Kingdom
GD GRD 12.05 -61.75 Grenada
GE GEO 41.72 44.82 Georgia
GF GUF 4.93 -52.33 French Guiana
GG GGY 49.45 -2.54 Guernsey
GH GHA 5.55 -0.22 Ghana
GI GIB 36.13 -5.35 Gibraltar
GL GRL 64.18 -51.73 Greenland
GM GMB 13.47 -16.65 Gambia
GN GIN 9.52 -13.72 Guinea
GP GLP 16.23 -61.53 Guadeloupe
GQ GNQ 3.75 8.78 Equatorial Guinea
GR GRC 37.97 23.72 Greece
GS SGS -54.27 -36.53 South Georgia and the South Sandwich Islands
GT GTM 14.63 -90.52 Guatemala
GU GUM 13.47 144.75 Guam
GW GNB 11.85 -15.58 Guinea-Bissau
GY GUY 6.80 -58.17 Guyana
HK HKG 22.28 114.15 Hong Kong
HM HMD -53.10 73.51 Heard Island and McDonald Islands
HN HND 14.10 -87.22 Honduras
HR HRV 45.80 15.97 Croatia
HT HTI 18.53 -72.33 Haiti
HU HUN 47.50 19.08 Hungary
ID IDN -6.17 106.80 Indonesia
IE IRL 53.33 -6.25 Ireland
IL ISR 31.78 35.22 Israel
IM IMN 54.15 -4.47 Isle of Man
IN IND 22.53 88.37 India
IO IOT -7.33 72.42 British Indian Ocean Territory
IQ IRQ 33.35 44.42 Iraq
IR IRN 35.67 51.43 Iran
IS ISL 64.15 -21.85 Iceland
IT ITA 41.90 12.48 Italy
JE JEY 49.18 -2.11 Jersey
JM JAM 17.97 -76.79 Jamaica
JO JOR 31.95 35.93 Jordan
JP JPN 35.65 139.74 Japan
KE KEN -1.28 36.82 Kenya
KG KGZ 42.90 74.60 Kyrgyzstan
KH KHM 11.55 104.92 Cambodia
KI KIR 1.42 173.00 Kiribati
KM COM -11.68 43.27 Comoros
KN KNA 17.30 -62.72 Saint Kitts and Nevis
KP PRK 39.02 125.75 North Korea
KR KOR 37.55 126.97 South Korea
KW KWT 29.33 47.98 Kuwait
KY CYM 19.30 -81.38 Cayman Islands
KZ KAZ 43.25 76.95 Kazakhstan
LA LAO 17.97 102.60 Laos
LB LBN 33.88 35.50 Lebanon
LC LCA 14.02 -61.00 Saint Lucia
LI LIE 47.15 9.52 Liechtenstein
LK LKA 6.93 79.85 Sri Lanka
LR LBR 6.30 -10.78 Liberia
LS LSO -29.47 27.50 Lesotho
LT LTU 54.68 25.32 Lithuania
LU LUX 49.60 6.15 Luxembourg
LV LVA 56.95 24.10 Latvia
LY LBY 32.90 13.18 Libya
MA MAR 33.65 -7.58 Morocco
MC MCO 43.70 7.38 Monaco
MD MDA 47.00 28.83 Moldova
ME MNE 42.43 19.27 Montenegro
MF MAF 18.07 -63.08 Saint Martin
MG MDG -18.92 47.52 Madagascar
MH MHL 7.15 171.20 Marshall Islands
MK MKD 41.98 21.43 North Macedonia
ML MLI 12.65 -8.00 Mali
MM MMR 16.78 96.17 Myanmar
MN MNG 47.92 106.88 Mongolia
MO MAC 22.20 113.54 Macau
MP MNP 15.20 145.75 Northern Mariana Islands
MQ MTQ 14.60 -61.08 Martinique
MR MRT 18.10 -15.95 Mauritania
MS MSR 16.72 -62.22 Montserrat
MT MLT 35.90 14.52 Malta
MU MUS -20.17 57.50 Mauritius
MV MDV 4.17 73.50 Maldives
MW MWI -15.78 35.00 Malawi
MX MEX 19.40 -99.15 Mexico
MY MYS 3.17 101.70 Malaysia
MZ MOZ -25.97 32.58 Mozambique
NA NAM -22.57 17.10 Namibia
NC NCL -22.27 166.45 New Caledonia
NE NER 13.52 2.12 Niger
NF NFK -29.05 167.97 Norfolk Island
NG NGA 6.45 3.40 Nigeria
NI NIC 12.15 -86.28 Nicaragua
NL NLD 52.37 4.90 Netherlands
NO NOR 59.92 10.75 Norway
NP NPL 27.72 85.32 Nepal
NR NRU -0.52 166.92 Nauru
NU NIU -19.02 -169.92 Niue
NZ NZL -36.87 174.77 New Zealand
OM OMN 23.60 58.58 Oman
PA PAN 8.97 -79.53 Panama
PE PER -12.05 -77.05 Peru
PF PYF -17.53 -149.57 French Polynesia
PG PNG -9.50 147.17 Papua New Guinea
PH PHL 14.59 120.97 Philippines
PK PAK 24.87 67.05 Pakistan
PL POL 52.25 21.00 Poland
PM SPM 47.05 -56.33 Saint Pierre and Miquelon
PN PCN -25.07 -130.08 Pitcairn
PR PRI 18.47 -66.11 Puerto Rico
PS PSE 31.53 35.09 Palestine
PT PRT 38.72 -9.13 Portugal
PW PLW 7.33 134.48 Palau
PY PRY -25.27 -57.67 Paraguay
QA QAT 25.28 51.53 Qatar
RE REU -20.87 55.47 Reunion
RO ROU 44.43 26.10 Romania
RS SRB 44.83 20.50 Serbia
RU RUS 55.76 37.62 Russia
RW RWA -1.95 30.07 Rwanda
SA SAU 24.63 46.72 Saudi Arabia
SB SLB -9.53 160.20 Solomon Islands
SC SYC -4.67 55.47 Seychelles
SD SDN 15.60 32.53 Sudan
SE SWE 59.33 18.05 Sweden
SG SGP 1.28 103.85 Singapore
SH SHN -15.92 -5.70 Saint Helena
SI SVN 46.05 14.52 Slovenia
SJ SJM 78.00 16.00 Svalbard and Jan Mayen
SK SVK 48.15 17.12 Slovakia
SL SLE 8.50 -13.25 Sierra Leone
SM SMR 43.92 12.47 San Marino
SN SEN 14.67 -17.43 Senegal
SO SOM 2.07 45.37 Somalia
SR SUR 5.83 -55.17 Suriname
SS SSD 4.85 31.62 South Sudan
ST STP 0.33 6.73 Sao Tome and Principe
SV SLV 13.70 -89.20 El Salvador
SX SXM 18.05 -63.05 Sint Maarten
SY SYR 33.50 36.30 Syria
SZ SWZ -26.30 31.10 Eswatini
TC TCA 21.47 -71.13 Turks and Caicos Is
TD TCD 12.12 15.05 Chad
TF ATF -49.35 70.22 French Southern Territories
TG TGO 6.13 1.22 Togo
TH THA 13.75 100.52 Thailand
TJ TJK 38.58 68.80 Tajikistan
TK TKL -9.37 -171.23 Tokelau
TL TLS -8.55 125.58 East Timor
TM TKM 37.95 58.38 Turkmenistan
TN TUN 36.80 10.18 Tunisia
TO TON -21.13 -175.20 Tonga
TR TUR 41.02 28.97 Turkiye
TT TTO 10.65 -61.52 Trinidad and Tobago
TV TUV -8.52 179.22 Tuvalu
TW TWN 25.05 121.50 Taiwan
TZ TZA -6.80 39.28 Tanzania
UA UKR 50.43 30.52 Ukraine
UG UGA 0.32 32.42 Uganda
UM UMI 19.28 166.62 US minor outlying islands
US USA 40.71 -74.01 United States
UY URY -34.91 -56.21 Uruguay
UZ UZB 41.33 69.30 Uzbekistan
VA VAT 41.90 12.45 Vatican City
VC VCT 13.15 -61.23 Saint Vincent
VE VEN 10.50 -66.93 Venezuela
VG VGB 18.45 -64.62 British Virgin Islands
VI VIR 18.35 -64.93 US Virgin Islands
VN VNM 10.75 106.67 Vietnam
VU VUT -17.67 168.42 Vanuatu
WF WLF -13.30 -176.17 Wallis and Futuna
WS WSM -13.83 -171.73 Samoa
XK XKX 42.67 21.17 Kosovo
YE YEM 12.75 45.20 Yemen
YT MYT -12.78 45.23 Mayotte
ZA ZAF -26.25 28.00 South Africa
ZM ZMB -15.42 28.28 Zambia
ZW ZWE -17.83 31.05 Zimbabwe
"""

# Official and other names that data holds, by alpha-2.
_ALIASES = """
AD: Principality of Andorra
AE: U.A.E.; UAE
AF: Islamic Republic of Afghanistan
AL: Republic of Albania
AM: Republic of Armenia
AO: Republic of Angola
AR: Argentine Republic
AT: Republic of Austria
AX: Åland Islands
AZ: Republic of Azerbaijan
BA: Bosnia; Republic of Bosnia and Herzegovina
BD: People's Republic of Bangladesh
BE: Kingdom of Belgium
BG: Republic of Bulgaria
BH: Kingdom of Bahrain
BI: Republic of Burundi
BJ: Republic of Benin
BL: Saint Barthélemy; St Barthelemy
BN: Brunei Darussalam
BO: Bolivia, Plurinational State of; Plurinational State of Bolivia
BQ: Bonaire, Sint Eustatius and Saba
BR: Federative Republic of Brazil
BS: Commonwealth of the Bahamas; The Bahamas
BT: Kingdom of Bhutan
BW: Republic of Botswana
BY: Republic of Belarus
CD: Congo (Dem. Rep.); Congo, The Democratic Republic of the; Congo-Kinshasa; Democratic Republic of the Congo; Zaire
CF: Central African Republic
CG: Congo (Rep.); Congo-Brazzaville; Republic of the Congo
CH: Swiss Confederation
CI: Côte d'Ivoire; Ivory Coast; Republic of Côte d'Ivoire
CL: Republic of Chile
CM: Republic of Cameroon
CN: Mainland China; PR China; People's Republic of China
CO: Republic of Colombia
CR: Republic of Costa Rica
CU: Republic of Cuba
CV: Cabo Verde; Republic of Cabo Verde
CW: Curaçao
CY: Republic of Cyprus
CZ: Czech Republic
DE: Federal Republic of Germany
DJ: Republic of Djibouti
DK: Kingdom of Denmark
DM: Commonwealth of Dominica
DZ: People's Democratic Republic of Algeria
EC: Republic of Ecuador
EE: Republic of Estonia
EG: Arab Republic of Egypt
ER: the State of Eritrea
ES: Kingdom of Spain
ET: Federal Democratic Republic of Ethiopia
FI: Republic of Finland
FJ: Republic of Fiji
FK: Falkland Islands (Malvinas)
FM: Federated States of Micronesia; Micronesia, Federated States of
FR: French Republic
GA: Gabonese Republic
GB: Britain; England; Great Britain; Northern Ireland; Scotland; U.K.; UK; United Kingdom of Great Britain and Northern Ireland; Wales
GH: Republic of Ghana
GM: Republic of the Gambia; The Gambia
GN: Republic of Guinea
GQ: Republic of Equatorial Guinea
GR: EL; Hellas; Hellenic Republic
GT: Republic of Guatemala
GW: Republic of Guinea-Bissau
GY: Republic of Guyana
HK: Hong Kong SAR; Hong Kong Special Administrative Region of China
HN: Republic of Honduras
HR: Republic of Croatia
HT: Republic of Haiti
ID: Republic of Indonesia
IL: State of Israel
IN: Republic of India
IQ: Republic of Iraq
IR: Iran, Islamic Republic of; Islamic Republic of Iran
IS: Republic of Iceland
IT: Italian Republic
JO: Hashemite Kingdom of Jordan
KE: Republic of Kenya
KG: Kyrgyz Republic
KH: Kingdom of Cambodia
KI: Republic of Kiribati
KM: Union of the Comoros
KN: St Kitts and Nevis
KP: Democratic People's Republic of Korea; Korea, Democratic People's Republic of
KR: Korea; Korea, Republic of; Republic of Korea
KW: State of Kuwait
KZ: Republic of Kazakhstan
LA: Lao People's Democratic Republic
LB: Lebanese Republic
LC: St Lucia
LI: Principality of Liechtenstein
LK: Democratic Socialist Republic of Sri Lanka
LR: Republic of Liberia
LS: Kingdom of Lesotho
LT: Republic of Lithuania
LU: Grand Duchy of Luxembourg
LV: Republic of Latvia
MA: Kingdom of Morocco
MC: Principality of Monaco
MD: Moldova, Republic of; Republic of Moldova
MF: Saint Martin (French part)
MG: Republic of Madagascar
MH: Republic of the Marshall Islands
MK: FYROM; Macedonia; Republic of North Macedonia
ML: Republic of Mali
MM: Burma; Republic of Myanmar
MO: Macao; Macao Special Administrative Region of China
MP: Commonwealth of the Northern Mariana Islands
MR: Islamic Republic of Mauritania
MT: Republic of Malta
MU: Republic of Mauritius
MV: Republic of Maldives
MW: Republic of Malawi
MX: United Mexican States
MZ: Republic of Mozambique
NA: Republic of Namibia
NE: Republic of the Niger
NG: Federal Republic of Nigeria
NI: Republic of Nicaragua
NL: Holland; Kingdom of the Netherlands; The Netherlands
NO: Kingdom of Norway
NP: Federal Democratic Republic of Nepal
NR: Republic of Nauru
OM: Sultanate of Oman
PA: Republic of Panama
PE: Republic of Peru
PG: Independent State of Papua New Guinea
PH: Republic of the Philippines
PK: Islamic Republic of Pakistan
PL: Republic of Poland
PS: Palestine, State of; State of Palestine; the State of Palestine
PT: Portuguese Republic
PW: Republic of Palau
PY: Republic of Paraguay
QA: State of Qatar
RE: Réunion
RS: Republic of Serbia
RU: Russian Federation
RW: Rwandese Republic
SA: Kingdom of Saudi Arabia
SC: Republic of Seychelles
SD: Republic of the Sudan
SE: Kingdom of Sweden
SG: Republic of Singapore
SH: Saint Helena, Ascension and Tristan da Cunha
SI: Republic of Slovenia
SK: Slovak Republic
SL: Republic of Sierra Leone
SM: Republic of San Marino
SN: Republic of Senegal
SO: Federal Republic of Somalia
SR: Republic of Suriname
SS: Republic of South Sudan
ST: Democratic Republic of Sao Tome and Principe
SV: Republic of El Salvador
SX: Sint Maarten (Dutch part)
SY: Syrian Arab Republic
SZ: Kingdom of Eswatini; Swaziland
TC: Turks and Caicos Islands
TD: Republic of Chad
TG: Togolese Republic
TH: Kingdom of Thailand
TJ: Republic of Tajikistan
TL: Democratic Republic of Timor-Leste; Timor-Leste
TN: Republic of Tunisia
TO: Kingdom of Tonga
TR: Republic of Türkiye; Turkey; Türkiye
TT: Republic of Trinidad and Tobago
TW: Taiwan, Province of China
TZ: Tanzania, United Republic of; United Republic of Tanzania
UG: Republic of Uganda
UM: United States Minor Outlying Islands
US: America; U.S.; U.S.A.; USA; United States of America
UY: Eastern Republic of Uruguay
UZ: Republic of Uzbekistan
VA: Holy See; Holy See (Vatican City State); Vatican
VC: Saint Vincent and the Grenadines; St Vincent
VE: Bolivarian Republic of Venezuela; Venezuela, Bolivarian Republic of
VG: Virgin Islands, British
VI: Virgin Islands of the United States; Virgin Islands, U.S.
VN: Socialist Republic of Viet Nam; Viet Nam
VU: Republic of Vanuatu
WS: Independent State of Samoa
XK: XKK
YE: Republic of Yemen
ZA: Republic of South Africa
ZM: Republic of Zambia
ZW: Republic of Zimbabwe
"""


@dataclass(frozen=True, slots=True)
class Country:
    """A country: ISO alpha-2 and alpha-3, English name, and the place of a main city in degrees."""

    alpha2: str
    alpha3: str
    name: str
    latitude: float
    longitude: float


def _read() -> dict[str, Country]:
    out = {}
    for line in _TABLE.strip().splitlines():
        alpha2, alpha3, latitude, longitude, name = line.split(" ", 4)
        out[alpha2] = Country(alpha2, alpha3, name, float(latitude), float(longitude))
    return out


def fold(text: str) -> str:
    """What two spellings of one name share: no case, accents, dots or doubled spaces, `and` for `&`.

    >>> fold("  Côte  d'Ivoire ")
    "cote d'ivoire"
    """
    plain = unicodedata.normalize("NFKD", text).casefold().replace("&", " and ").replace("’", "'")
    return " ".join("".join(c for c in plain if not unicodedata.combining(c) and c not in ".,").split())


#: Every country by alpha-2.
COUNTRIES: Final[Mapping[str, Country]] = MappingProxyType(_read())


def _names() -> dict[str, str]:
    out: dict[str, str] = {}
    for country in COUNTRIES.values():
        for name in (country.alpha2, country.alpha3, country.name):
            out[fold(name)] = country.alpha2
    for line in _ALIASES.strip().splitlines():
        alpha2, names = line.split(": ", 1)
        for name in names.split("; "):
            out.setdefault(fold(name), alpha2)
    return out


#: alpha-2 by folded alpha-2, alpha-3, name or other name.
BY_NAME: Final[Mapping[str, str]] = MappingProxyType(_names())

#: Codes and words that say "not known": ISO leaves ZZ and XX to the user, and systems write them for it.
UNKNOWN: Final = frozenset({"", "zz", "xx", "zzz", "xxx", "unknown", "n/a", "none", "null", "-"})


def alpha2(text: str) -> str | None:
    """The ISO alpha-2 code of a code or English name; None if there is none.

    >>> alpha2("deu"), alpha2("United States of America"), alpha2("UK"), alpha2("Atlantis")
    ('DE', 'US', 'GB', None)
    """
    return BY_NAME.get(fold(text))
