package pawld

import (
	"flag"

	"github.com/pawl-os/pawl/node/api"
	"github.com/pawl-os/pawl/node/talos"
)

// talosFlags say whether Talos's client is answered, and how.
func talosFlags(flags *flag.FlagSet) func() []api.Beside {
	o := talos.Options{}
	answer := flags.Bool("talos", false, "answer talosctl too, on the same addresses (it looks for port 50000, over "+
		"TLS): version, upgrade,\nrollback, reboot, dmesg, events, services, and META's write and delete")
	flags.BoolVar(&o.Wipe, "talos-wipe", false, "an upgrade by talosctl without --preserve wipes EPHEMERAL, as clients "+
		"before 1.8 mean it; without this\nit is kept")
	return func() []api.Beside {
		if !*answer {
			return nil
		}
		return []api.Beside{talos.New(o)}
	}
}
