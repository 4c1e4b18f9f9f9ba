package approvals

// Status is how far one message came. Statuses of one attempt only rise: providers report repeatedly and in any order.
type Status string

// Statuses of a delivery, lowest first.
const (
	StatusHeld      Status = "held"      // not sent for now; Why says what is waited for
	StatusUnknown   Status = "unknown"   // the provider did not answer: perhaps sent
	StatusAccepted  Status = "accepted"  // the provider has it
	StatusSent      Status = "sent"      // the provider has passed it on, to a carrier or a platform
	StatusFailed    Status = "failed"    // it will not arrive; Code says why
	StatusDelivered Status = "delivered" // it is on the device
	StatusOpened    Status = "opened"    // somebody has looked at the message
	StatusRetracted Status = "retracted" // closed on the device after the request had ended
)

var statusRank = map[Status]int{StatusHeld: 1, StatusUnknown: 2, StatusAccepted: 3, StatusSent: 4, StatusFailed: 5,
	StatusDelivered: 6, StatusOpened: 7, StatusRetracted: 8}

// Known reports whether s is one of the statuses.
func (s Status) Known() bool { return statusRank[s] > 0 }

// news reports whether d says more about its attempt than what is there already. That is how repeated receipts, and those
// that a faster one has overtaken, are told apart: what was delivered once has not failed afterwards.
func (r *Request) news(d Delivery) bool {
	for _, old := range r.Deliveries {
		if old.Channel == d.Channel && old.Attempt == d.Attempt && !old.before(d) {
			return false
		}
	}
	return true
}

// before reports whether d can follow old. A message may be held for one reason after another.
func (old Delivery) before(d Delivery) bool {
	if old.Status == StatusHeld && d.Status == StatusHeld {
		return old.Why != d.Why
	}
	return statusRank[old.Status] < statusRank[d.Status]
}
