package channels

import (
	"slices"

	"assent/approvals"
)

// Policy is what an operator decides about messages. The zero value is [DefaultLadder] and nothing else.
type Policy struct {
	Ladder   Ladder
	Messages int      // to one person within 10 minutes, of all requests; 0 is no limit
	Break    bool     // messages break through quiet hours that would outlive their request; else the request fails at once
	Loud     []string // authorization_details types that never wait for quiet hours to end
}

func (p Policy) ladder() Ladder {
	if len(p.Ladder) == 0 {
		return DefaultLadder()
	}
	return p.Ladder
}

func (p Policy) loud(r *approvals.Request) bool {
	return slices.ContainsFunc(r.Requested, func(d approvals.Detail) bool { return slices.Contains(p.Loud, d.Type) })
}
