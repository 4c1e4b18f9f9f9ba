package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the release build: -ldflags '-X main.version=…'.
var version = "development"

type versionCmd struct {
	Licenses bool `help:"List every module in the binary."`
	JSON     bool `help:"Print JSON."`
}

// Run prints what this binary is made of.
func (c *versionCmd) Run(s streams) error {
	if c.JSON {
		about := map[string]any{"version": version, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH}
		if info, ok := debug.ReadBuildInfo(); ok && c.Licenses {
			about["modules"] = info.Deps
		}
		return json.NewEncoder(s.out).Encode(about)
	}
	fmt.Fprintf(s.out, "assent %s, %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if !c.Licenses {
		return nil
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return fmt.Errorf("this binary carries no list of its modules")
	}
	fmt.Fprintln(s.out, "\nAssent is licensed under Apache-2.0. It contains these modules; each carries its licence in its source:")
	for _, m := range info.Deps {
		fmt.Fprintf(s.out, "  %s %s\n", m.Path, m.Version)
	}
	return nil
}
