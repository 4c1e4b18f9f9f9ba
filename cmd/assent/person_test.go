package main

import (
	"slices"
	"testing"
	"time"

	"assent/approvals"
)

// A new number takes the place of the old one in the person's order, and nothing of what that had shown.
func TestRenumber(t *testing.T) {
	before, now := time.Unix(1000, 0), time.Unix(2000, 0)
	mail := approvals.Address{Channel: "mail", Value: "ann@example.com", VerifiedAt: before}
	number := func(value string, at time.Time) approvals.Address {
		return approvals.Address{Channel: "sms", Value: value, VerifiedAt: at}
	}
	for to, want := range map[string][]approvals.Address{
		"+4930123456": {mail, number("+4930123456", now), number("+4930999999", before)},
		"":            {mail, number("+4930999999", before)},
	} {
		had := []approvals.Address{mail, number("+4930111111", before), number("+4930999999", before)}
		p := &approvals.Person{Phone: "+4930111111", Addresses: had}
		renumber(p, to, now)
		if p.Phone != to || !slices.Equal(p.Addresses, want) || !had[1].VerifiedAt.Equal(before) {
			t.Errorf("to %q: %+v", to, p.Addresses)
		}
	}
}
