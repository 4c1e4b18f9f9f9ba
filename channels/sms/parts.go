package sms

import (
	"strings"
	"unicode/utf16"

	"golang.org/x/text/encoding/korean"
)

// The two alphabets of a text message (3GPP TS 23.038). One character outside of the first puts the whole text into the
// second. Texts of more than one part lose room in each to the header that joins them.
const (
	gsmOne, gsmMore = 160, 153 // septets
	ucsOne, ucsMore = 70, 67   // UTF-16 code units
)

const (
	gsmBasic = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?" +
		"¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
	gsmExtended = "\f^{}\\[~]|€" // escape and character: two septets
)

// Parts returns in how many parts a text travels, which is what is billed.
func Parts(text string) int {
	if n, ok := septets(text); ok {
		return gsmParts(text, n)
	}
	return ucsParts(text)
}

// septets is how many units of the GSM alphabet a text takes; false if it does not fit into that alphabet.
func septets(text string) (n int, ok bool) {
	for _, c := range text {
		switch {
		case strings.ContainsRune(gsmBasic, c):
			n++
		case strings.ContainsRune(gsmExtended, c):
			n += 2
		default:
			return 0, false
		}
	}
	return n, true
}

// gsmParts fills part after part: an escape and its character are never torn apart.
func gsmParts(text string, n int) int {
	if n <= gsmOne {
		return 1
	}
	parts, used := 1, 0
	for _, c := range text {
		size := 1
		if strings.ContainsRune(gsmExtended, c) {
			size = 2
		}
		if used+size > gsmMore {
			parts, used = parts+1, 0
		}
		used += size
	}
	return parts
}

// ucsParts fills part after part: the two halves of a surrogate pair are never torn apart.
func ucsParts(text string) int {
	units := 0
	for _, c := range text {
		units += utf16.RuneLen(c)
	}
	if units <= ucsOne {
		return 1
	}
	parts, used := 1, 0
	for _, c := range text {
		size := utf16.RuneLen(c)
		if used+size > ucsMore {
			parts, used = parts+1, 0
		}
		used += size
	}
	return parts
}

// carriesKorean reports whether Korean carriers bring the text unharmed: they convert to EUC-KR (KS X 1001), which has
// 2,350 of the 11,172 syllables and no emoji, and put a question mark for the rest. The encoder knows a wider set; its
// additions are those outside of the plane where both bytes have their high bit.
func carriesKorean(text string) bool {
	encoded, err := korean.EUCKR.NewEncoder().String(text)
	if err != nil {
		return false
	}
	for i := 0; i < len(encoded); i++ {
		if encoded[i] < 0x80 {
			continue
		}
		if i+1 == len(encoded) || encoded[i] < 0xA1 || encoded[i+1] < 0xA1 {
			return false
		}
		i++
	}
	return true
}
