package approvals

import (
	"math/big"
	"strings"
)

// Money is an amount in minor units of an ISO 4217 currency: 480.00 EUR is {EUR, 48000}.
type Money struct {
	Currency string
	Minor    *big.Int
}

const maxAmount = 30 // characters

// money accepts {currency, amount} with the amount as a decimal string, never a JSON number (RFC 9396's own example;
// REQ-099). The fraction may not have more digits than the currency.
func money(path string, v any) error {
	shape := members{"currency": required(text(3)), "amount": required(amountText)}
	if err := object(shape)(path, v); err != nil {
		return err
	}
	o := v.(map[string]any)
	digits, known := minorDigits(o["currency"].(string))
	if !known {
		return invalid(path+".currency", "must be an ISO 4217 code")
	}
	return decimal(path+".amount", o["amount"].(string), digits)
}

// amountText tells whoever has sent a number that amounts are strings.
func amountText(path string, v any) error {
	if _, ok := v.(string); !ok {
		return invalid(path, `must be a string such as "480.00"`)
	}
	return text(maxAmount)(path, v)
}

// decimal accepts an amount of money in a currency that has this many digits after the point.
func decimal(path, amount string, digits int) error {
	whole, fraction, dotted := strings.Cut(amount, ".")
	if !isDigits(whole) || dotted && !isDigits(fraction) || len(whole) > 1 && whole[0] == '0' {
		return invalid(path, "must be a decimal string such as 480.00")
	}
	if len(fraction) > digits {
		return invalid(path, "must not have more than %d digits after the point in this currency", digits)
	}
	if strings.Trim(whole+fraction, "0") == "" {
		return invalid(path, "must be more than zero")
	}
	return nil
}

// moneyOf reads a value that money has accepted.
func moneyOf(v any) Money {
	o := v.(map[string]any)
	return newMoney(o["currency"].(string), o["amount"].(string))
}

// newMoney reads an amount that decimal has accepted in a known currency.
func newMoney(currency, amount string) Money {
	digits, _ := minorDigits(currency)
	whole, fraction, _ := strings.Cut(amount, ".")
	minor, _ := new(big.Int).SetString(whole+fraction+strings.Repeat("0", digits-len(fraction)), 10)
	return Money{currency, minor}
}

// Decimal writes the amount with all digits of its currency and thousands grouped by commas: "1,849.50".
func (m Money) Decimal() string {
	digits, _ := minorDigits(m.Currency)
	s := m.Minor.String()
	if pad := digits + 1 - len(s); pad > 0 {
		s = strings.Repeat("0", pad) + s
	}
	whole, fraction := grouped(s[:len(s)-digits]), s[len(s)-digits:]
	if digits == 0 {
		return whole
	}
	return whole + "." + fraction
}

// grouped puts commas between the thousands of a whole number.
func grouped(whole string) string {
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	return whole
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// Active ISO 4217 codes by number of minor digits. Codes of metals, funds and tests are left out: nobody pays in them.
const (
	currencies0 = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
	currencies2 = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF " +
		"CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR " +
		"ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN " +
		"MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS " +
		"SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD XCG YER ZAR ZMW ZWG"
	currencies3 = "BHD IQD JOD KWD LYD OMR TND"
)

var minorDigitsOf = func() map[string]int {
	table := map[string]int{}
	for digits, codes := range map[int]string{0: currencies0, 2: currencies2, 3: currencies3} {
		for _, code := range strings.Fields(codes) {
			table[code] = digits
		}
	}
	return table
}()

func minorDigits(currency string) (int, bool) {
	digits, known := minorDigitsOf[currency]
	return digits, known
}
