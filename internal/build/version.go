// Package build tells how this program was built.
package build

import "runtime/debug"

// Unknown is the version of what was built of a checkout that knows none.
const Unknown = "dev"

// Version is that which the linker set, else the module's, as "go install" of a published one has it.
func Version(linked string) string {
	info, _ := debug.ReadBuildInfo()
	return version(linked, info)
}

func version(linked string, info *debug.BuildInfo) string {
	if linked != Unknown || info == nil || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return linked
	}
	return info.Main.Version
}
