package approvals

// Golden lets tests from outside compare with files as those from inside do.
var Golden = golden
