package node

import (
	"strings"

	"github.com/pawl-os/pawl/upgrade/progress"
)

// Place is where the service is: at the beginning of a phase, or of a step of package upgrade. See Config.Observe.
type Place struct {
	Operation string // its first word: "upgrade", "rollback", "trial", "settle", "apply"
	Phase     Phase
	Step      progress.Step // where Phase is empty
}

// String names the place: "upgrade/drain" is a phase, "upgrade:arm-the-loader" a step.
func (p Place) String() string {
	if p.Phase != "" {
		return p.Operation + "/" + string(p.Phase)
	}
	return p.Operation + ":" + strings.ReplaceAll(string(p.Step), " ", "-")
}

// at tells that a phase of an operation begins.
func (s *Server) at(operation string, p Phase, args ...any) {
	s.log.Info(operation, append([]any{"phase", p}, args...)...)
	s.observe(operation, p, "")
}

// atStep tells that a step begins.
func (s *Server) atStep(operation string, step progress.Step) {
	s.log.Debug(operation, "step", step)
	s.observe(operation, "", step)
}

// observeStep is told by package upgrade of what is no step of its progress.
func (s *Server) observeStep(operation string, step progress.Step) { s.observe(operation, "", step) }

func (s *Server) observe(operation string, p Phase, step progress.Step) {
	if s.config.Observe != nil {
		operation, _, _ = strings.Cut(operation, " ")
		s.config.Observe(Place{Operation: operation, Phase: p, Step: step})
	}
}
