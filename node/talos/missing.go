package talos

import (
	"fmt"
	"net/http"
	"path"
	"strings"

	"connectrpc.com/connect"
)

// missing are the services of Talos whose methods are not there, or not all.
var missing = []string{
	machineService, imageService, lifecycleService, "/machine.DebugService/", "/cluster.ClusterService/",
	"/cosi.resource.State/", "/inspect.InspectService/", "/storage.StorageService/", "/time.TimeService/",
}

// why says of some methods what takes their place.
var why = map[string]string{
	"machine.MachineService/Kubeconfig": "the node's own hooks cordon and drain it (upgrade with --drain=false, or with " +
		"--legacy)",
	"machine.MachineService/Shutdown":    "a node is restarted, not switched off (use reboot)",
	"machine.MachineService/Reset":       "nothing here wipes a node (install it anew)",
	"cosi.resource.State/Get":            "the node keeps no resources (use pawl status)",
	"cosi.resource.State/List":           "the node keeps no resources (use pawl status)",
	"cluster.ClusterService/HealthCheck": "the node answers for itself alone (use pawl doctor)",
}

var errorWriter = connect.NewErrorWriter()

// refuse says of a method that it is not there, by its name.
func refuse(w http.ResponseWriter, r *http.Request) {
	name := fmt.Sprintf("%.100s", strings.TrimPrefix(r.URL.Path, "/"))
	text := fmt.Sprintf("%s is not there: this is Pawl, not Talos", name)
	if more := why[name]; more != "" {
		text += "; " + more
	}
	if !errorWriter.IsSupported(r) {
		http.Error(w, text, http.StatusNotFound)
		return
	}
	_ = errorWriter.Write(w, r, connect.NewError(connect.CodeUnimplemented, fmt.Errorf("%s", text)))
}

// split takes "/package.Service/Method" apart.
func split(procedure string) (service, method string) {
	service, method = path.Split(strings.TrimPrefix(procedure, "/"))
	return strings.TrimPrefix(path.Ext(strings.TrimSuffix(service, "/")), "."), method
}
