package channels

// codeWords are the codes that the dispatcher puts into a report by itself, when a channel has no better one.
var codeWords = map[string]string{
	string(Gone):     "the provider says that the address is no more",
	string(Rejected): "the provider has refused the message",
	string(Busy):     "the provider was busy",
	string(Fault):    "the provider refuses our account or settings: an operator has to act",
	string(Capped):   "a cap of ours was reached, so nothing was sent",
	codeLate:         "the claim was committed too late, so nothing was sent",
}

// Explain says in plain words what a code of the dispatcher means; "" for one that is not known here. What a provider's
// own codes mean is for its channel to say.
func Explain(code string) string { return codeWords[code] }

// codeLate is the code of a message whose claim was committed too late to be sent.
const codeLate = "late"
