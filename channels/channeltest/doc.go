// Package channeltest holds what every channel must fulfil, as a test ([Run]), and a channel that behaves
// ([Recorder]) for the tests of everybody else.
//
// It is imported by tests only and refuses providers' SDKs.
package channeltest
