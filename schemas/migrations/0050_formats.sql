-- An endpoint that answers in several formats has none of those that a request accepts.
INSERT INTO api_error_codes (error_code, error_message, error_category, http_status_code, suggested_action) VALUES
('NOT_ACCEPTABLE', 'The answer is not to be had in this format', 'validation', 406, 'Accept a content type that /openapi.json names');
INSERT INTO api_error_messages (language, error_code, error_message, suggested_action) VALUES
('vi', 'NOT_ACCEPTABLE', 'Không có câu trả lời ở định dạng này', 'Hãy chấp nhận một kiểu nội dung mà /openapi.json nêu');
