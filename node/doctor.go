package node

import (
	"context"

	"github.com/pawl-os/pawl/upgrade/doctor"
)

// Doctor predicts the machine's next boots, and says what is redundant and what is broken. It changes nothing and needs
// no turn; beside an operation that runs, what it says may be of a moment between two of the operation's steps. Since
// it reads every file, callers at the same time share an answer, and it ends when they have all gone.
func (s *Server) Doctor(ctx context.Context) (doctor.Diagnosis, error) {
	return s.doctors.ask(ctx)
}

func (s *Server) doctor(ctx context.Context) (doctor.Diagnosis, error) {
	d, err := s.diagnose(ctx)
	if err != nil {
		return d, err
	}
	if op, running := s.queue.latest(); running {
		d.Findings = append(d.Findings, doctor.Finding{
			Severity: doctor.Fine, About: "operation", Text: "It runs now, and changes what is looked at here: " +
				op.name + ".", Do: "ask again when it is over",
		})
	}
	return d, nil
}
