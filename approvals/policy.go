package approvals

import (
	"fmt"
	"math/big"
)

// LevelRule is one sentence of an operator about the level that an approval takes.
//
// A rule without a currency is about a whole type and replaces the type's own level, downwards too. A rule with a
// currency is about amounts and only raises.
type LevelRule struct {
	Type     string // of authorization_details
	Currency string // ISO 4217; empty: the whole type
	Over     string // decimal amount in Currency: the rule holds for more than that; empty: for every amount
	Needs    Level
}

// Levels says what approving takes: what the types say, and what an operator says beside. Of several rules that hold, the
// strictest counts. The zero value is the types alone.
type Levels struct {
	whole map[string]Level            // by type
	bars  map[string]map[string][]bar // by type and currency
}

// bar is crossed by amounts of more minor units than over; without over by every amount.
type bar struct {
	over  *big.Int
	needs Level
}

func (b bar) crossed(minor *big.Int) bool { return b.over == nil || minor.Cmp(b.over) > 0 }

// NewLevels reads an operator's rules. A [FieldError] names the rule by its place and its member: "level[2].over".
func NewLevels(types Types, rules []LevelRule) (Levels, error) {
	l := Levels{whole: map[string]Level{}, bars: map[string]map[string][]bar{}}
	for i, r := range rules {
		if err := r.check(fmt.Sprintf("level[%d]", i), types); err != nil {
			return Levels{}, err
		}
		l.add(r)
	}
	return l, nil
}

func (r LevelRule) check(path string, types Types) error {
	typ, known := types[r.Type]
	digits, currency := minorDigits(r.Currency)
	switch {
	case !known:
		return invalid(path+".type", "must be one of %v", types.Names())
	case r.Needs == LevelNone:
		return invalid(path+".needs", "must be one of %v", acrs[LevelLink:])
	case r.Currency == "" && r.Over != "":
		return invalid(path+".currency", "is required with over")
	case r.Currency == "":
		return nil
	case typ.pays == nil:
		return invalid(path+".currency", "must be absent: this type has no amounts")
	case !currency:
		return invalid(path+".currency", "must be an ISO 4217 code")
	case r.Over == "":
		return nil
	}
	return decimal(path+".over", r.Over, digits)
}

func (l Levels) add(r LevelRule) {
	if r.Currency == "" {
		l.whole[r.Type] = max(l.whole[r.Type], r.Needs)
		return
	}
	b := bar{needs: r.Needs}
	if r.Over != "" {
		b.over = newMoney(r.Currency, r.Over).Minor
	}
	if l.bars[r.Type] == nil {
		l.bars[r.Type] = map[string][]bar{}
	}
	l.bars[r.Type][r.Currency] = append(l.bars[r.Type][r.Currency], b)
}

// Highest is the strictest level that any rule needs; [LevelNone] without rules.
func (l Levels) Highest() (highest Level) {
	for _, needs := range l.whole {
		highest = max(highest, needs)
	}
	for typ := range l.bars {
		highest = max(highest, l.strictest(typ))
	}
	return highest
}

// of is the level that an approval of details takes. Amounts of one type and currency count together, so that nothing is
// gained by cutting one payment into several objects.
func (l Levels) of(types Types, details Details, paid []*payment) (needs Level) {
	type sum struct{ typ, currency string }
	var sums map[sum]*big.Int
	for i, d := range details {
		needs = max(needs, l.base(types, d))
		if paid[i] == nil || l.bars[d.Type] == nil {
			continue
		}
		key := sum{d.Type, paid[i].amount.Currency}
		if sums == nil {
			sums = map[sum]*big.Int{}
		}
		if sums[key] == nil {
			sums[key] = new(big.Int)
		}
		sums[key].Add(sums[key], paid[i].amount.Minor)
	}
	for key, minor := range sums {
		needs = max(needs, l.amount(key.typ, Money{key.currency, minor}))
	}
	return needs
}

// base is the level of a type whatever the amount.
func (l Levels) base(types Types, d Detail) Level {
	if needs, ruled := l.whole[d.Type]; ruled && !d.Generic {
		return needs
	}
	typ, _ := types.of(d)
	return typ.Level
}

// amount is the level that an amount takes beside that of its type. A currency of which no rule of the type speaks takes
// the strictest that any of them needs: no agent gets below a bar by asking in other money.
func (l Levels) amount(typ string, m Money) (needs Level) {
	own, ruled := l.bars[typ][m.Currency]
	if !ruled {
		return l.strictest(typ)
	}
	for _, b := range own {
		if b.crossed(m.Minor) {
			needs = max(needs, b.needs)
		}
	}
	return needs
}

func (l Levels) strictest(typ string) (needs Level) {
	for _, list := range l.bars[typ] {
		for _, b := range list {
			needs = max(needs, b.needs)
		}
	}
	return needs
}
