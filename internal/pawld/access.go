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
	cert := checked(flags, "tls-cert", "", anything, "PEM `file` of this node's certificate: TCP is TLS then, with "+
		"certificates of both ends. Like the other files of TLS\nit is read again when it changes; what cannot be used "+
		"is logged, and the old one stays")
	key := checked(flags, "tls-key", "", anything, "PEM `file` of its key")
	ca := checked(flags, "client-ca", "", anything, "PEM `file` of the authorities that sign clients' certificates")
	roles := checked(flags, "client-roles", "", anything, "`file` that says the roles of clients' certificates, a line "+
		"each: sha256:FINGERPRINT, spiffe://ID\nor organization:NAME, and a role or none; without it their organization "+
		"does, such as pawl:operator or os:operator")
	role(flags, &o.Plain, "tcp-role", "what callers over TCP without TLS are, who are not known (default admin)")
	group := checked(flags, "socket-group", "", anything, "group, by `name` or number, whose members may use the Unix "+
		"socket too, as --socket-role says;\nwithout it: root and the service's own user, who are admins")
	role(flags, &o.GroupRole, "socket-role", "what the members of --socket-group are")
	return func() access.Options {
		o.Cert, o.Key, o.ClientCA, o.Roles, o.Group = *cert, *key, *ca, *roles, *group
		return o
	}
}
