package pawld

import (
	"flag"

	"github.com/pawl-os/pawl/node/api/access"
)

// role defines a flag that takes a role.
func role(flags *flag.FlagSet, to *access.Role, name, usage string) {
	flags.Func(name, usage+"; a `role`: reader, operator or admin", func(value string) error {
		*to = access.Role(value)
		return oneOf(name, access.Roles()...)(value)
	})
}

// accessFlags say who may do what; they are read once what is returned is called.
func accessFlags(flags *flag.FlagSet) func() access.Options {
	o := access.Options{}
	role(flags, &o.Plain, "tcp-role", "what callers over TCP are, who are not known (default admin)")
	group := checked(flags, "socket-group", "", anything, "group, by `name` or number, whose members may use the Unix "+
		"socket too, as --socket-role says; without it: root and the service's own user, who are admins")
	role(flags, &o.GroupRole, "socket-role", "what the members of --socket-group are")
	return func() access.Options {
		o.Group = *group
		return o
	}
}
