package approvals

import (
	"context"
	"math/big"
	"slices"
)

// RiskKind is a reason to look closer at a request; a closed set.
type RiskKind string

// Reasons to look closer.
const (
	SelfRegistered RiskKind = "self_registered" // nobody has checked who the agent is
	FirstRequest   RiskKind = "first_request"   // the person has decided nothing of this agent before
	UnusualAmount  RiskKind = "unusual_amount"  // several times what the person usually approves
	NewPayee       RiskKind = "new_payee"       // nobody whom an approval of the person's has paid
)

// Risk is one reason to look closer, found when the request came, in the person's own past decisions alone. It says what it
// was found by and not where, so that it is as true of what is left of a request as of all of it.
type Risk struct {
	Kind     RiskKind `json:"kind"`
	Currency string   `json:"currency,omitempty"` // of [UnusualAmount]
	Usual    string   `json:"usual,omitempty"`    // of [UnusualAmount]: the usual one in minor units
	Payee    string   `json:"payee,omitempty"`    // of [NewPayee]: a hash
}

// When an amount is unusual.
const (
	usualFrom = 3 // amounts that there must be to know the usual one
	unusual   = 3 // times the usual one
)

// consider compares a new request with its person's past and notes in it what that tells: since when the agent acts for
// the person, and the reasons to look closer.
func (d *Desk) consider(ctx context.Context, a Ask, r *Request, paid []*payment) error {
	if a.SelfRegistered {
		r.Risks = append(r.Risks, Risk{Kind: SelfRegistered})
	}
	return d.habits.compare(ctx, d.Renderer.Types, r.Subject, func(past *habit) {
		r.Since = past.agents[r.Agent]
		r.Risks = append(r.Risks, past.risks(r.Agent, paid)...)
	})
}

// risks are the reasons to look closer at an agent's request that spends this. Of several currencies the one counts whose
// amount is the most times the usual one.
func (one *habit) risks(agent AgentID, paid []*payment) (found []Risk) {
	if _, known := one.agents[agent]; !known {
		found = append(found, Risk{Kind: FirstRequest})
	}
	worst, most := Risk{Kind: UnusualAmount}, big.NewInt(unusual-1)
	for currency, minor := range totals(paid) {
		usual := one.usual(currency)
		if usual == nil {
			continue
		}
		if times := new(big.Int).Div(minor, usual); times.Cmp(most) > 0 {
			most, worst.Currency, worst.Usual = times, currency, usual.String()
		}
	}
	if worst.Usual != "" {
		found = append(found, worst)
	}
	for _, p := range paid {
		if p == nil || one.payees[p.hash()] {
			continue
		}
		if risk := (Risk{Kind: NewPayee, Payee: p.hash().String()}); !slices.Contains(found, risk) {
			found = append(found, risk)
		}
	}
	return found
}

// totals sums up what one approval spends, by currency.
func totals(paid []*payment) map[string]*big.Int {
	sums := map[string]*big.Int{}
	for _, p := range paid {
		if p == nil {
			continue
		}
		if sums[p.amount.Currency] == nil {
			sums[p.amount.Currency] = new(big.Int)
		}
		sums[p.amount.Currency].Add(sums[p.amount.Currency], p.amount.Minor)
	}
	return sums
}

// riskWords are the reasons in words.
var riskWords = map[RiskKind]phrase{
	SelfRegistered: {"This agent registered itself. Nobody has checked who operates it.",
		"스스로 등록한 에이전트예요. 누가 운영하는지 확인되지 않았어요."},
	FirstRequest:  {"First request from this agent", "처음 요청한 에이전트예요"},
	UnusualAmount: {"%s× your usual amount", "평소 금액의 %s배예요"},
	NewPayee:      {"New payee", "처음 보내는 곳이에요"},
}

// risks puts the reasons to look closer into words, as far as they are about what r asks.
func (p Renderer) risks(r *Request, objects []map[string]any, w words) (facts []Fact) {
	if len(r.Risks) == 0 {
		return nil
	}
	paid := p.Types.payments(r.Requested, objects)
	for _, risk := range r.Risks {
		for _, text := range w.risk(risk, paid) {
			facts = append(facts, Fact{w.say(labelRisk), text, RoleRisk})
		}
	}
	return facts
}

func (w words) risk(r Risk, paid []*payment) []string {
	switch r.Kind {
	case UnusualAmount:
		return w.times(r, totals(paid)[r.Currency])
	case NewPayee:
		return w.newPayee(r, paid)
	}
	return []string{w.say(riskWords[r.Kind])}
}

// times says how many times the usual amount an amount is, rounded down.
func (w words) times(r Risk, minor *big.Int) []string {
	usual, ok := new(big.Int).SetString(r.Usual, 10)
	if minor == nil || !ok || usual.Sign() <= 0 {
		return nil
	}
	times := usual.Div(minor, usual)
	if times.Cmp(big.NewInt(unusual)) < 0 {
		return nil
	}
	return []string{w.sprintf(riskWords[r.Kind], grouped(times.String()))}
}

// newPayee says which of several objects pay somebody new.
func (w words) newPayee(r Risk, paid []*payment) (texts []string) {
	for i, p := range paid {
		switch {
		case p == nil || p.hash().String() != r.Payee:
		case len(paid) == 1:
			texts = append(texts, w.say(riskWords[r.Kind]))
		default:
			texts = append(texts, w.say(riskWords[r.Kind])+" · "+w.sprintf(labelItem, i+1, len(paid)))
		}
	}
	return texts
}
