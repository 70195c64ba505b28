package node

import (
	"context"

	"github.com/pawl-os/pawl/node/pawlv1"
	"github.com/pawl-os/pawl/upgrade"
)

// Doctor predicts the machine's next boots, and says what is redundant and what is broken. It changes nothing and needs no
// turn; beside an operation that runs, what it says may be of a moment between two of the operation's steps. Since it reads
// every file, callers at the same time share an answer, and it ends when they have all gone.
func (s *Server) Doctor(ctx context.Context) (*pawlv1.DoctorResponse, error) {
	return s.doctors.ask(ctx)
}

func (s *Server) doctor(ctx context.Context) (*pawlv1.DoctorResponse, error) {
	d, err := s.diagnose(ctx)
	if err != nil {
		return nil, err
	}
	if op, running := s.queue.latest(); running {
		d.Findings = append(d.Findings, upgrade.Finding{
			Severity: upgrade.Fine, About: "operation", Text: "It runs now, and changes what is looked at here: " + op.name + ".", Do: "ask again when it is over",
		})
	}
	w := wireDiagnosis(d)
	w.BootId = s.bootID
	mend(w.ProtoReflect())
	return w, nil
}

func wireDiagnosis(d upgrade.Diagnosis) *pawlv1.DoctorResponse {
	w := &pawlv1.DoctorResponse{Severity: string(d.Severity()), Assumes: d.Assumes}
	for _, b := range d.Boots {
		boot := &pawlv1.PredictedBoot{
			Slot: string(b.Slot), Trial: b.Trial, Path: b.Path, Sha256: b.Digest, InitrdSha256: b.Initrd, Stuck: b.Stuck, Why: b.Why,
		}
		for _, s := range d.Status.Slots {
			if s.Slot == b.Slot {
				boot.Version = s.Manifest.Version
			}
		}
		w.Boots = append(w.Boots, boot)
	}
	for _, f := range d.Findings {
		w.Findings = append(w.Findings, &pawlv1.Finding{Severity: string(f.Severity), About: f.About, Text: f.Text, Do: f.Do})
	}
	return w
}
