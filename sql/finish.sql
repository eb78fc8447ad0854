-- finish.sql: the last statement of the install script.
-- SPDX-License-Identifier: PostgreSQL
SELECT dbos.extension_created();
