-- Services change targets and suppression as well as admins: a row of the audit names one or the other.
ALTER TABLE audit
    ALTER COLUMN admin DROP NOT NULL,
    ADD COLUMN service text,
    ADD CONSTRAINT audit_has_one_author CHECK (num_nonnulls(admin, service) = 1);
