package api

import (
	"net/http"

	"connectrpc.com/connect"

	"github.com/pawl-os/pawl/node"
)

// Beside makes another API of a node: one that is served on the same listeners as Pawl's own, to the same callers,
// within the same limits, and with the same audit. isHere reports whether a host is this node: a name of it, or an
// address that it has.
type Beside func(s *node.Server, isHere func(host string) bool) Service

// Service is another API.
type Service struct {
	// Add adds its methods to mux, each with o. What is added without o is checked by nobody. The schema of each method
	// ([connect.WithSchema]) says its role, as in pawl.proto. An error that is no [connect.Error] gets the code that it
	// has over Pawl's API.
	Add func(mux *http.ServeMux, o connect.HandlerOption)
	// paths of methods that are followers, and of those that plan: see [MaxCalls]
	Followers, Plans []string
}

func (a *API) add(s Service) {
	a.beside = append(a.beside, s)
	for _, g := range []*gate{a.tcp, a.sockets} {
		for _, path := range s.Followers {
			g.kinds[path] = followers
		}
		for _, path := range s.Plans {
			g.kinds[path] = plans
		}
	}
}
