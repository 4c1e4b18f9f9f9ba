package sms

// ParseReply is for the fuzz test.
var ParseReply = parseReply
